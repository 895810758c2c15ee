"""Where tokens come from: a ``Backend`` takes token ids and gives token ids back as they are made."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from serving.engine.core import GenerationRequest, Pooling, RequestTimes, SequenceOutput
from serving.engine.engine import Engine
from serving.engine.errors import EngineError
from serving.engine.stats import EngineStats

if TYPE_CHECKING:  # importing it takes torch along, which the site can start without
    from serving.engine.loader import LoadedModel
    from serving.engine.sampling.structured import GrammarCompiler
    from serving.engine.tokenizer import Tokenizer


class Backend(Protocol):
    """One model that can be asked."""

    name: str
    fingerprint: str  # the same as long as the same request has the same answer
    context_length: int  # tokens of prompt and completion together
    tokenizer: Tokenizer
    grammars: GrammarCompiler
    hidden_size: int  # numbers in an embedding
    pooling: Pooling  # how it embeds

    def generate(self, requests: Sequence[GenerationRequest]) -> Generation:
        """Start all of ``requests``, or none. For the event loop. Raises EngineError."""

    def abort(self, request_id: str) -> None:
        """End a request within one step; one that has ended, or never was, is ignored."""

    def health(self) -> EngineStats:
        """What it is doing now."""


class Silence(Exception):
    """Nothing has come, and somebody wants that known."""


class Generation:
    """The outputs of some sequences that one caller started together, as they come.

    ``next`` is for the event loop that made it. The totals are counted on the engine's thread, so that
    they are exact although the loop may lag behind or be gone.
    """

    def __init__(self, request_ids: Sequence[str]) -> None:
        self.loop = asyncio.get_running_loop()
        self._news: deque[SequenceOutput | None] = deque()
        self._waiting: asyncio.Future[None] | None = None
        self._lock = threading.Lock()
        self._open = set(request_ids)
        self._totals = dict.fromkeys(request_ids, 0)
        self._times: list[RequestTimes] = []
        self._when_ended: list[Callable[[], None]] = []

    async def next(self) -> SequenceOutput:
        """Cancelling this loses nothing. Raises Silence when ``tell_silence`` was called."""
        while not self._news:
            self._waiting = self.loop.create_future()  # an asyncio.Queue does the same in twice the time
            await self._waiting
        output = self._news.popleft()
        if output is None:
            raise Silence
        return output

    def completion_tokens(self, request_id: str) -> int:
        """How many tokens the engine has made for this sequence so far."""
        return self._totals[request_id]

    @property
    def times(self) -> RequestTimes:
        """Of the sequences that have ended; all of them, ``when_ended`` calls."""
        with self._lock:
            return RequestTimes.together(self._times)

    def open(self) -> list[str]:
        """The sequences whose last output has not come yet."""
        with self._lock:
            return list(self._open)

    def when_ended(self, call: Callable[[], None]) -> None:
        """``call`` once no sequence is open: at once, or on the engine's thread."""
        with self._lock:
            if self._open:
                self._when_ended.append(call)
                return
        call()

    def count(self, output: SequenceOutput) -> None:
        """On the engine's thread."""
        with self._lock:
            self._totals[output.request_id] = output.completion_tokens
            if output.finish_reason is None:
                return
            if output.times is not None:
                self._times.append(output.times)
            self._open.discard(output.request_id)
            calls, self._when_ended = (self._when_ended, []) if not self._open else ([], self._when_ended)
        for call in calls:
            call()

    def tell(self, output: SequenceOutput) -> None:
        """On the event loop."""
        self._put(output)

    def tell_silence(self) -> None:
        """On the event loop: wakes who waits, with nothing."""
        self._put(None)

    def _put(self, news: SequenceOutput | None) -> None:
        self._news.append(news)
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


class LocalBackend:
    """A model in this process."""

    def __init__(self, model: LoadedModel, on_failure: Callable[[str], None] = lambda reason: None) -> None:
        """``on_failure`` as of Engine. Raises MemoryError when the model's cache does not fit."""
        self.model = model
        self.name = model.spec.name
        self.fingerprint = repr(model.spec)
        self.context_length = model.config.max_model_len
        self.tokenizer = model.tokenizer
        self.grammars = model.grammars
        self.hidden_size, self.pooling = model.hidden_size, model.pooling
        self._generations: dict[str, Generation] = {}
        self._engine = Engine(model.config, model.runner, self._deliver, on_failure)
        self.start, self.stop = self._engine.start, self._engine.stop

    def generate(self, requests: Sequence[GenerationRequest]) -> Generation:
        ids = [request.request_id for request in requests]
        generation = Generation(ids)
        self._generations.update(dict.fromkeys(ids, generation))
        try:
            for request in requests:
                self._engine.submit(request)
        except EngineError:
            for request_id in ids:
                self._generations.pop(request_id, None)  # or it is done already
                self.abort(request_id)
            raise
        return generation

    def abort(self, request_id: str) -> None:
        self._engine.abort(request_id)

    def health(self) -> EngineStats:
        return self._engine.stats()

    def _deliver(self, outputs: list[SequenceOutput]) -> None:
        """On the engine's thread: one hop to each event loop that has news, not one for each token."""
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Generation, SequenceOutput]]] = {}
        for output in outputs:
            generation = self._generations.get(output.request_id)
            if generation is None:  # started with others of which one was refused
                continue
            if output.finish_reason is not None:
                self._generations.pop(output.request_id, None)
            generation.count(output)
            by_loop.setdefault(generation.loop, []).append((generation, output))
        for loop, news in by_loop.items():
            with suppress(RuntimeError):  # a closed loop: the server is stopping
                loop.call_soon_threadsafe(_tell, news)


def _tell(news: list[tuple[Generation, SequenceOutput]]) -> None:
    for generation, output in news:
        generation.tell(output)
