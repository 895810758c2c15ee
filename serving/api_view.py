"""The bases of the views under /v1."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, TypeVar, cast

from django.http.response import HttpResponseBase
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from apikeys.auth import Caller
from apikeys.errors import PermissionDenied, ServiceError
from apikeys.scopes import Scope
from serving.answers import Answer, Choice, OpenAIAnswer, likeliest
from serving.chat.schemas import ChatRequest
from serving.completions import CompletionStream, refuse, start_completion
from serving.dispatch import LoopView
from serving.errors import UnsupportedMediaType, json_response
from serving.idempotency import once
from serving.middleware import request_id_of
from serving.receipts import Receipt
from serving.sampling import Sampling
from serving.schemas import CompletionRequest, parse_json
from serving.sse import EventStream, EventStreamResponse

Parsed = TypeVar("Parsed")


class AlwaysJSON(DefaultContentNegotiation):
    """Clients of this API send any ``Accept``; none of them wants a 406."""

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        renderer = next(iter(renderers))
        return renderer, renderer.media_type


class ApiView(LoopView):
    """``request.auth`` is the Caller; ``endpoint`` is what its usage records say."""

    http_method_names = ("get", "head", "post")
    content_negotiation_class = AlwaysJSON
    endpoint: ClassVar[str] = ""
    scope: ClassVar[Scope] = "inference"  # that a key must have

    async def check_access(self, request: Request) -> None:
        """Raises PermissionDenied, which is recorded as any other end of a request."""
        caller = caller_of(request)
        if self.scope not in caller.scopes:
            error = PermissionDenied(
                f"This API key lacks the scope '{self.scope}', which {request.path} needs. It has: "
                f"{', '.join(sorted(caller.scopes)) or 'none'}."
            )
            raise await refuse(caller, error, request_id=request_id_of(request), endpoint=self.endpoint)

    async def respond(self) -> HttpResponseBase:
        request, caller = self.request, self.request.auth
        if request.method != "POST" or caller is None or once.HEADER not in request.headers:
            return await super().respond()
        receipt = Receipt(caller, request_id_of(request), self.endpoint)
        return await once.answer_once(request, receipt, self._respond_or_explain)

    async def _respond_or_explain(self) -> HttpResponseBase:
        """A refusal is an answer too."""
        try:
            return await super().respond()
        except Exception as error:
            return cast(HttpResponseBase, self.handle_exception(error))

    async def parse_body(self, request: Request, parse: Callable[[Any], Parsed]) -> Parsed:
        """Raises BadRequest, which is recorded as any other end of a request."""
        try:
            return parse(_read_json(request))
        except ServiceError as error:
            raise await refuse(
                caller_of(request), error, request_id=request_id_of(request), endpoint=self.endpoint
            ) from error


class GenerationView(ApiView):
    """What all endpoints that write text do: parse, start, then answer at once or as it comes."""

    answer: ClassVar[type[OpenAIAnswer]]

    @abstractmethod
    def parse(self, body: Any) -> CompletionRequest | ChatRequest:
        """Raises BadRequest."""

    def answer_to(self, asked: CompletionRequest | ChatRequest, stream: CompletionStream) -> Answer:
        logprobs = asked.sampling.logprobs is not None
        return self.answer(stream, include_usage=asked.include_usage, logprobs=logprobs)

    async def generate(self, request: Request) -> HttpResponseBase:
        asked = await self.parse_body(request, self.parse)
        stream = await start_completion(
            caller_of(request), asked, request_id=request_id_of(request), endpoint=self.endpoint
        )
        return await answer_with(self.answer_to(asked, stream), stream, asked)


async def answer_with(
    answer: Answer, stream: CompletionStream, asked: CompletionRequest | ChatRequest
) -> HttpResponseBase:
    """At once or as it comes."""
    if asked.stream:
        return EventStreamResponse(EventStream(stream, answer), stream.headers)
    return await _answer_at_once(stream, answer, asked.sampling)


async def _answer_at_once(stream: CompletionStream, answer: Answer, sampling: Sampling) -> HttpResponseBase:
    """Cancelled when the client leaves; that closes the stream too."""
    choices = [Choice(index) for index in range(stream.num_choices)]
    try:
        async for delta in stream:
            choices[delta.index].take(delta)
        if sampling.sequences > sampling.n:
            choices = likeliest(choices, sampling.n, sampling.sequences)
        body = answer.whole(choices, stream.usage)
        await answer.settle(stream.usage)
        return json_response(body, headers=stream.headers)
    finally:
        stream.close()


def caller_of(request: Request) -> Caller:
    return cast(Caller, request.auth)


def _read_json(request: Request) -> Any:
    """The body, also of a chunked request, in which REST framework's ``request.data`` sees nothing."""
    if request.content_type.partition(";")[0].strip().lower() != "application/json":
        raise UnsupportedMediaType("Send the body as JSON, with Content-Type: application/json.")
    return parse_json(request.body)
