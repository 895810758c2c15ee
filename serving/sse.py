"""Server-sent events: the body of a streamed answer."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Mapping

from django.http import StreamingHttpResponse

from apikeys.errors import ServiceError
from serving.answers import Answer
from serving.completions import CompletionStream
from serving.deltas import SILENCE
from serving.errors import InternalError

log = logging.getLogger(__name__)

KEEPALIVE_AFTER = 10.0  # seconds of silence after which proxies and clients are told that we are alive


class EventStream:
    """An object, not a generator, because Django calls ``close`` of an object on all three ways out: at
    the end, when the client leaves while we generate, and when it leaves while we send. A generator is
    left hanging on the last. To be iterated once. ``complete``: whether it has come to its proper end."""

    def __init__(self, stream: CompletionStream, answer: Answer) -> None:
        self.complete = False
        self._stream = stream
        self._answer = answer
        self._events = self._write()
        self._loop = asyncio.get_running_loop()
        self._heard_at = self._loop.time()
        _open_bodies.add(self)
        self._break_silence()

    def __aiter__(self) -> AsyncGenerator[bytes]:
        return self._events

    def close(self) -> None:
        """From any thread; called when the last byte has been handed to the server, or cannot be."""
        self._stream.close()
        _open_bodies.discard(self)

    def _break_silence(self) -> None:
        """One timer for a whole stream: a timeout around each delta took a tenth of all the time."""
        if self not in _open_bodies:
            return
        silent = self._loop.time() - self._heard_at
        if silent >= KEEPALIVE_AFTER:
            self._stream.tell_silence()
            silent = 0.0
        self._loop.call_later(KEEPALIVE_AFTER - silent, self._break_silence)

    async def _write(self) -> AsyncGenerator[bytes]:
        try:
            for event in self._answer.opening():
                yield event
            async for delta in self._stream:
                self._heard_at = self._loop.time()
                if delta is SILENCE:
                    yield self._answer.keepalive
                    continue
                for event in self._answer.pieces(delta):
                    yield event
            await self._answer.settle(self._stream.usage)
            for event in self._answer.closing(self._stream.usage):
                yield event
            self.complete = True
        except ServiceError as error:
            yield self._answer.failure(error)
        except Exception:
            log.exception("Request %s failed in mid-stream", self._stream.request_id)
            yield self._answer.failure(InternalError())


class EventStreamResponse(StreamingHttpResponse):
    def __init__(self, events: EventStream, headers: Mapping[str, str]) -> None:
        headers = {**headers, "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        super().__init__(events, headers=headers, content_type="text/event-stream")
        self.events = events

    def __aiter__(self) -> AsyncGenerator[bytes]:
        """As Django's, without its two generators in between, through which each event would go."""
        return aiter(self.events)


_open_bodies: set[EventStream] = set()


def wait_until_sent(seconds: float) -> None:
    """For the end of the process, once every stream was told to end: let the last events out. Not for the
    event loop, which sends them."""
    deadline = time.monotonic() + seconds
    while _open_bodies and time.monotonic() < deadline:
        time.sleep(0.02)
