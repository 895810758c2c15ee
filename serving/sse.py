"""Server-sent events: the body of a streamed answer."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any, Self

from apikeys.errors import ServiceError
from serving.answers import Answer
from serving.completions import CompletionStream, Delta
from serving.errors import InternalError, to_sse

log = logging.getLogger(__name__)

KEEPALIVE_AFTER = 10.0  # seconds of silence after which proxies and clients are told that we are alive
KEEPALIVE = b": keepalive\n\n"
DONE = b"data: [DONE]\n\n"


class EventStream:
    """An object, not a generator, because Django calls ``close`` of an object on all three ways out: at
    the end, when the client leaves while we generate, and when it leaves while we send. A generator is
    left hanging on the last."""

    def __init__(self, stream: CompletionStream, answer: Answer, *, include_usage: bool) -> None:
        self._stream = stream
        self._answer = answer
        self._include_usage = include_usage
        self._events = self._write()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        return await anext(self._events)

    def close(self) -> None:
        """From any thread; Django calls it in a worker's."""
        self._stream.close()

    async def _write(self) -> AsyncIterator[bytes]:
        for chunk in self._answer.opening(self._stream.num_choices):
            yield event(chunk)
        try:
            async for delta in _with_pauses(self._stream):
                if delta is None:
                    yield KEEPALIVE
                    continue
                for chunk in self._answer.chunks(delta):
                    yield event(chunk)
        except ServiceError as error:
            yield to_sse(error)
            return
        except Exception:
            log.exception("Request %s failed in mid-stream", self._stream.request_id)
            yield to_sse(InternalError())
            return
        if self._include_usage:
            yield event(self._answer.usage_chunk(self._stream.usage))
        yield DONE


def event(body: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


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
