"""Server-sent events: the body of a streamed answer."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping
from typing import Self

from django.http import StreamingHttpResponse

from apikeys.errors import ServiceError
from serving.answers import Answer
from serving.completions import CompletionStream, Delta
from serving.errors import InternalError

log = logging.getLogger(__name__)

KEEPALIVE_AFTER = 10.0  # seconds of silence after which proxies and clients are told that we are alive


class EventStream:
    """An object, not a generator, because Django calls ``close`` of an object on all three ways out: at
    the end, when the client leaves while we generate, and when it leaves while we send. A generator is
    left hanging on the last. ``complete``: whether it has come to its proper end."""

    def __init__(self, stream: CompletionStream, answer: Answer) -> None:
        self.complete = False
        self._stream = stream
        self._answer = answer
        self._events = self._write()
        _open_bodies.add(self)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        return await anext(self._events)

    def close(self) -> None:
        """From any thread; called when the last byte has been handed to the server, or cannot be."""
        self._stream.close()
        _open_bodies.discard(self)

    async def _write(self) -> AsyncIterator[bytes]:
        try:
            for event in self._answer.opening():
                yield event
            async for delta in _with_pauses(self._stream):
                if delta is None:
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


_open_bodies: set[EventStream] = set()


def wait_until_sent(seconds: float) -> None:
    """For the end of the process, once every stream was told to end: let the last events out. Not for the
    event loop, which sends them."""
    deadline = time.monotonic() + seconds
    while _open_bodies and time.monotonic() < deadline:
        time.sleep(0.02)


async def _with_pauses(stream: CompletionStream) -> AsyncIterator[Delta | None]:
    """The deltas, and None whenever there was none for KEEPALIVE_AFTER."""
    while True:
        try:
            async with asyncio.timeout(KEEPALIVE_AFTER):
                delta = await anext(stream)
        except StopAsyncIteration:
            return
        except TimeoutError:
            yield None
        else:
            yield delta
