"""The one path from a valid request to text: the API, the playground and the tests all come this way.

start_completion: admit → find the model → tokenize → check the context → reserve its tokens → submit
CompletionStream: tokens → text → stop strings → Deltas; ``close`` settles, however it ends
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from concurrent.futures import Future
from dataclasses import asdict, dataclass, replace
from typing import Self

from apikeys.auth import Caller
from apikeys.errors import ServiceError
from apikeys.limits import Permit, admit
from apikeys.models import CLIENT_LEFT
from serving import runtime, shedding
from serving.answer_cache import Rerun, Slot, slot_of
from serving.backends import Backend, Silence
from serving.chat.schemas import ChatRequest
from serving.deltas import SILENCE, ChoiceText, Delta, choices_of
from serving.engine.core import SequenceOutput
from serving.engine.errors import EngineError
from serving.errors import BadRequest, GenerationFailed, from_engine
from serving.messages import Message
from serving.prompts import TokenizedPrompt, prompt_param, takes_no_time, tokenize
from serving.receipts import Receipt, admitted
from serving.schemas import CompletionRequest


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts, exactly as recorded."""

    prompt_tokens: int
    completion_tokens: int


async def start_completion(
    caller: Caller, request: CompletionRequest | ChatRequest, *, request_id: str, endpoint: str
) -> CompletionStream:
    """Submit ``request``. Whoever gets the stream must ``close`` it.

    Raises ServiceError: RateLimited, InsufficientQuota, ModelNotFound, ModelNotReady, BadRequest,
    ContextTooLong, EngineOverloaded, Unavailable. A refused request is recorded too.
    """
    receipt = Receipt(caller, request_id, endpoint)
    receipt.model, receipt.stream = request.model, request.stream
    receipt.asked = _asked(request)
    async with admitted(receipt) as permit:
        return await _submit(request, receipt, permit)


def _asked(request: CompletionRequest | ChatRequest) -> object:
    if isinstance(request, ChatRequest):
        return [_told(message) for message in request.messages]
    return list(request.prompts)


def _told(message: Message) -> dict[str, object]:
    calls = [asdict(call) for call in message.calls]
    return {"role": message.role, "content": message.content, **({"calls": calls} if calls else {})}


async def refuse(caller: Caller, error: ServiceError, *, request_id: str, endpoint: str) -> ServiceError:
    """For a request that could not even be parsed: it takes its place in the bucket and is recorded as
    any other. Returns what to answer: ``error``, or RateLimited."""
    receipt = Receipt(caller, request_id, endpoint)
    try:
        receipt.permit = await admit(caller)
    except ServiceError as limited:
        error = limited
    receipt.refuse(error)
    return error


async def _submit(
    request: CompletionRequest | ChatRequest, receipt: Receipt, permit: Permit
) -> CompletionStream:
    backend = runtime.get_for(receipt.caller, request.model)
    receipt.model = backend.name
    short = takes_no_time(backend, request)
    prompts = tokenize(backend, request) if short else await asyncio.to_thread(tokenize, backend, request)
    prompt_tokens = sum(len(prompt.token_ids) for prompt in prompts)
    most = sum(prompt.max_tokens for prompt in prompts) * request.sampling.sequences
    slot = slot_of(receipt.caller, backend, request)
    kept = None if slot is None else await slot.find()
    if kept is not None:
        receipt.cached = True
        backend = rerun = Rerun(backend, kept)
        most = rerun.completion_tokens
    else:
        shedding.check(receipt.caller, backend)
    await receipt.reserve(prompt_tokens, most)
    receipt.prompt_tokens = prompt_tokens  # not sooner: what is refused uses nothing
    return CompletionStream(request, receipt, permit, backend, prompts, slot)


class CompletionStream:
    """The Deltas of all choices, as they come; iterate on the event loop. Cancelling loses nothing.

    Iterating raises ServiceError when the model fails. ``close`` belongs on every way out: it aborts
    what still runs, releases the permit and writes the one UsageRecord.
    """

    def __init__(
        self,
        request: CompletionRequest | ChatRequest,
        receipt: Receipt,
        permit: Permit,
        backend: Backend,
        prompts: list[TokenizedPrompt],
        slot: Slot | None = None,
    ) -> None:
        """Raises ServiceError when the engine does not take the request. ``slot``: where its answer is from,
        or is to be kept."""
        self.request_id, self.model, self.permit = receipt.request_id, backend.name, permit
        self._slot, self._outputs = slot, list[SequenceOutput]()
        self._form_param = request.sampling.form.param if request.sampling.form else None
        self._receipt = receipt
        self._backend = backend
        self.tokenizer = backend.tokenizer
        self.may_call = any(prompt.dialect is not None for prompt in prompts)
        try:
            self._choices = choices_of(request, receipt, backend, prompts)
            self._generation = backend.generate([choice.request for choice in self._choices.values()])
        except EngineError as error:
            raise from_engine(error, prompt_param(request)) from error
        echoes = (choice.echo() for choice in self._choices.values())
        self._ready = deque(echo for echo in echoes if echo is not None)
        self._error: ServiceError | None = None
        self._closing = threading.Lock()
        self._settled: Future[None] = Future()
        _open_streams.add(self)

    @property
    def usage(self) -> Usage:
        """So far; final once ``aclose`` has returned."""
        made = sum(self._tokens_of(choice) for choice in self._choices.values())
        return Usage(self._receipt.prompt_tokens, made)

    @property
    def headers(self) -> dict[str, str]:
        """What an answer over HTTP says of itself."""
        if self._slot is None:
            return self.permit.headers
        return {**self.permit.headers, "x-cache": "hit" if self._receipt.cached else "miss"}

    @property
    def num_choices(self) -> int:
        return len(self._choices)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Delta:
        while not self._ready:
            if all(choice.finish_reason for choice in self._choices.values()):
                if self._slot is not None and not self._receipt.cached:
                    await self._slot.fill(self._outputs)
                await self.aclose()
                raise StopAsyncIteration
            try:
                self._take(await self._generation.next())
            except Silence:
                return SILENCE
        return self._ready.popleft()

    def tell_silence(self) -> None:
        """Whoever iterates gets SILENCE next, if there is still nothing else. For the event loop."""
        self._generation.tell_silence()

    def close(self, error: ServiceError | None = None) -> None:
        """Idempotent, never blocks, from any thread. ``error``: why it ends, where neither the model
        finished nor the reader left. A client that left is charged for what the engine really made, and
        one that met its stop string for the step in which it did: so the record is written when the engine
        says that it has stopped."""
        if not self._closing.acquire(blocking=False):
            return
        self._error = error
        for request_id in self._generation.open():
            self._backend.abort(request_id)
        self.permit.release()
        self._generation.when_ended(self._settle)

    async def aclose(self) -> None:
        """``close``, and wait until the record is written: ``usage`` is final then."""
        self.close()
        await asyncio.shield(asyncio.wrap_future(self._settled))

    def _take(self, output: SequenceOutput) -> None:
        choice = self._choices[output.request_id]
        if choice.finish_reason is not None:  # news from before the abort that a stop string caused
            return
        if output.finish_reason in ("error", "abort", "grammar"):
            error = self._failure(output)
            self.close(error)
            raise error
        self._receipt.first_token()
        if self._slot is not None:
            self._outputs.append(replace(output, request_id=str(choice.index), times=None))
        delta = choice.take(output)
        if self._receipt.caller.keeps_content:
            choice.said += choice.news
        self._ready.append(delta)
        if delta.finish_reason is not None and output.finish_reason is None:
            self._backend.abort(output.request_id)

    def _failure(self, output: SequenceOutput) -> ServiceError:
        """A grammar that the model cannot follow is the request's mistake: another try would fail too."""
        if output.finish_reason == "grammar":
            return BadRequest(output.error or "", param=self._form_param)
        return GenerationFailed(output.error or "The server is stopping.")

    def _tokens_of(self, choice: ChoiceText) -> int:
        if choice.finish_reason is not None:
            return choice.completion_tokens
        return self._generation.completion_tokens(choice.request.request_id)

    def _settle(self) -> None:
        _open_streams.discard(self)
        self._receipt.completion_tokens = self.usage.completion_tokens
        self._receipt.times = self._generation.times
        self._receipt.answered = [choice.said for choice in self._choices.values()]
        reasons = [choice.finish_reason for choice in self._choices.values()]
        if self._error is not None:
            self._receipt.write(self._error.status, "error", self._error.code or "")
        elif all(reasons):
            ends = (reason for reason in ("length", "tool_calls") if reason in reasons)
            self._receipt.write(200, next(ends, "stop"))
        else:
            self._receipt.write(CLIENT_LEFT, "abort")
        self._settled.set_result(None)


_open_streams: set[CompletionStream] = set()


def close_all() -> None:
    """For the end of the process: settle every stream whose reader will not come back."""
    for stream in list(_open_streams):
        stream.close(GenerationFailed("The server is stopping."))
