"""The one path from a valid request to text: the API, the playground and the tests all come this way.

start_completion: admit → find the model → tokenize → check the context → reserve its tokens → submit
CompletionStream: tokens → text → stop strings → Deltas; ``close`` settles, however it ends
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections import deque
from concurrent.futures import Future
from dataclasses import asdict, dataclass, replace
from typing import Self

from apikeys.auth import Caller
from apikeys.errors import ServiceError
from apikeys.limits import Permit, admit
from apikeys.models import CLIENT_LEFT
from serving import runtime
from serving.answer_cache import Rerun, Slot, slot_of
from serving.backends import Backend, Silence
from serving.chat.schemas import ChatRequest
from serving.engine.core import GenerationRequest, SequenceOutput, TokenLogprobs
from serving.engine.detokenizer import Detokenizer, StopMatcher
from serving.engine.errors import EngineError
from serving.errors import GenerationFailed, from_engine
from serving.logprobs import UNKNOWN
from serving.messages import Message
from serving.prompts import TokenizedPrompt, prompt_param, takes_no_time, tokenize
from serving.receipts import Receipt, admitted
from serving.sampling import Sampling
from serving.schemas import CompletionRequest
from serving.tools.parser import CallParser, Piece


@dataclass(frozen=True, slots=True)
class Delta:
    """What is new of one choice. ``token_ids`` may be there before the text that they make is certain;
    the delta with a ``finish_reason`` is the choice's last."""

    index: int
    text: str
    token_ids: tuple[int, ...] = ()
    finish_reason: str | None = None
    stop_string: str | None = None  # the one that finished it
    logprobs: tuple[TokenLogprobs, ...] = ()  # of ``token_ids``, if asked for; with echo the prompt's too
    prompt_logprobs: tuple[TokenLogprobs, ...] | None = None  # from its second token on, if asked for
    pieces: tuple[Piece, ...] = ()  # the text in its order with the calls of tools


SILENCE = Delta(-1, "")  # nothing has come


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
    receipt.reserve(prompt_tokens, most)
    receipt.prompt_tokens = prompt_tokens  # not sooner: what is refused uses nothing
    return CompletionStream(request, receipt, permit, backend, prompts, slot)


class _Choice:
    """One sequence on its way to text."""

    def __init__(
        self,
        index: int,
        request: GenerationRequest,
        backend: Backend,
        sampling: Sampling,
        prompt: TokenizedPrompt,
    ) -> None:
        self.index = index
        self.request = request
        self.completion_tokens = 0
        self.finish_reason: str | None = None
        self.said, self.news = "", ""  # all text so far, and the latest of it: calls as the model wrote them
        self._sampling = sampling
        self._echo = prompt.echo
        self._detokenizer, self._calls = Detokenizer(backend.tokenizer.decode), None
        if prompt.dialect is not None:
            decode = functools.partial(backend.tokenizer.decode, shown=prompt.dialect.shown)
            self._detokenizer = Detokenizer(decode)
            self._calls = CallParser(prompt.dialect.format, request.request_id)
        self._stops = StopMatcher(sampling.stop)

    def echo(self) -> Delta | None:
        """The prompt, before there is any token; with logprobs it must wait for those."""
        if not self._echo or self._sampling.logprobs is not None:
            return None
        echo, self._echo = self._echo, ""
        return Delta(self.index, echo)

    def take(self, output: SequenceOutput) -> Delta:
        """Tokens after the one that completes a stop string are not the caller's: not counted."""
        text, self._echo = self._echo, ""
        told = self._echoed_logprobs(output) if text else ()
        for used, token in enumerate(output.token_ids, start=1):
            self.completion_tokens += 1
            text += self._stops.feed(self._detokenizer.feed((token,)))
            if self._stops.matched is not None:
                return self._delta(output, text, told, used, "stop")
        self.completion_tokens = output.completion_tokens
        if output.finish_reason is not None:
            text += self._stops.feed(self._detokenizer.finish()) + self._stops.finish()
        reason = output.finish_reason if self._stops.matched is None else "stop"
        return self._delta(output, text, told, len(output.token_ids), reason)

    def _delta(
        self,
        output: SequenceOutput,
        text: str,
        told: tuple[TokenLogprobs, ...],
        used: int,
        reason: str | None,
    ) -> Delta:
        self.news = text
        pieces: list[Piece] = [text] if text else []
        if self._calls is not None:
            pieces = self._calls.feed(text) + (self._calls.finish() if reason is not None else [])
            text = "".join(piece for piece in pieces if isinstance(piece, str))
            reason = "tool_calls" if reason == "stop" and self._calls.has_called else reason
        self.finish_reason = reason
        return Delta(
            self.index,
            text,
            output.token_ids[:used],
            reason,
            self._stops.matched,
            told + (output.logprobs or ())[:used],
            output.prompt_logprobs if self._sampling.prompt_logprobs is not None else None,
            tuple(pieces),
        )

    def _echoed_logprobs(self, output: SequenceOutput) -> tuple[TokenLogprobs, ...]:
        first = TokenLogprobs(self.request.prompt_ids[0], UNKNOWN)
        return (first, *(output.prompt_logprobs or ()))


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
        self._receipt = receipt
        self._backend = backend
        self.tokenizer = backend.tokenizer
        self.may_call = any(prompt.dialect is not None for prompt in prompts)
        try:
            self._choices = _choices(request, receipt, backend, prompts)
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
        if output.finish_reason in ("error", "abort"):
            error = GenerationFailed(output.error or "The server is stopping.")
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

    def _tokens_of(self, choice: _Choice) -> int:
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


def _choices(
    request: CompletionRequest | ChatRequest,
    receipt: Receipt,
    backend: Backend,
    prompts: list[TokenizedPrompt],
) -> dict[str, _Choice]:
    """By the id of their sequence: prompts x n (or best_of), in OpenAI's order."""
    sampling = request.sampling
    choices: dict[str, _Choice] = {}
    for prompt in prompts:
        for i in range(sampling.sequences):
            index = len(choices)
            sequence = GenerationRequest(
                request_id=f"{receipt.request_id}-{index}",
                prompt_ids=prompt.token_ids,
                params=sampling.params(prompt.max_tokens, i, echo=bool(prompt.echo), grammar=prompt.grammar),
                owner=receipt.caller.owner,
                priority=receipt.caller.priority,
            )
            choices[sequence.request_id] = _Choice(index, sequence, backend, sampling, prompt)
    return choices
