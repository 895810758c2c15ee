"""The body of a streamed answer, kept as it passes."""

from __future__ import annotations

import asyncio
from typing import Self

from serving.sse import EventStream

AHEAD = 64  # events that a reader may lag behind before the stream waits for it


class Spool:
    """Hands on the events of a stream and remembers them. When the reader leaves, they come all the same;
    but not for nobody: a stream that has become too large to remember then ends.

    ``run`` reads the stream, in another task than the reader's.
    """

    def __init__(self, events: EventStream, limit: int) -> None:
        """``limit``: bytes that are remembered."""
        self._events = events
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self._news: asyncio.Queue[bytes | None] = asyncio.Queue(AHEAD)
        self._kept: list[bytes] = []
        self._size = 0
        self._left = self._ended = False

    @property
    def whole(self) -> bytes | None:
        """All of it; None if that was too much."""
        return b"".join(self._kept) if self._size <= self._limit else None

    async def run(self) -> None:
        """Until the last event, or until nobody wants the next."""
        try:
            async for event in self._events:
                self._remember(event)
                if self._left and self._size > self._limit:
                    break
                await self._hand_on(event)
        finally:
            await self._hand_on(None)
            self._ended = True
            self._close_when_done()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        event = await self._news.get()
        if event is None:
            raise StopAsyncIteration
        return event

    def close(self) -> None:
        """From any thread: the reader has all of it, or has left."""
        self._loop.call_soon_threadsafe(self.leave)

    def leave(self) -> None:
        """``close``, on the event loop."""
        self._left = True
        while not self._news.empty():  # ``run`` may wait for a place
            self._news.get_nowait()
        self._close_when_done()

    def _close_when_done(self) -> None:
        """Not before the reader is done too: a server that stops waits for streams that are not closed."""
        if self._left and self._ended:
            self._events.close()

    def _remember(self, event: bytes) -> None:
        self._size += len(event)
        if self._size <= self._limit:
            self._kept.append(event)
        else:
            self._kept.clear()

    async def _hand_on(self, event: bytes | None) -> None:
        if not self._left:
            await self._news.put(event)
