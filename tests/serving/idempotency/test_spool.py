"""A streamed answer that is kept as it passes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from serving.idempotency import spool
from serving.idempotency.spool import Spool


class Events:
    """Stands where an EventStream would; ``given`` counts what was taken of it."""

    def __init__(self, *events: bytes) -> None:
        self._events = iter(events)
        self.given = self.closed = 0

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        await asyncio.sleep(0)
        for event in self._events:
            self.given += 1
            return event
        raise StopAsyncIteration

    def close(self) -> None:
        self.closed += 1


def spool_of(events: Any, limit: int = 100) -> Spool:
    return Spool(events, limit)


async def test_the_reader_gets_each_event_and_the_whole_is_kept() -> None:
    events = Events(b"a", b"b", b"c")
    body = spool_of(events)
    running = asyncio.create_task(body.run())
    assert [event async for event in body] == [b"a", b"b", b"c"]
    await running
    assert events.closed == 0  # the server has not sent it yet
    body.leave()
    assert events.closed == 1
    assert body.whole == b"abc"


async def test_it_goes_on_when_the_reader_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "AHEAD", 2)
    events = Events(*[b"x"] * 50)
    body = spool_of(events)
    running = asyncio.create_task(body.run())
    await anext(body)
    await asyncio.to_thread(body.close)
    await running
    assert body.whole == b"x" * 50
    assert events.closed == 1


async def test_a_slow_reader_makes_the_model_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "AHEAD", 2)
    events = Events(*[b"x"] * 50)
    body = spool_of(events)
    running = asyncio.create_task(body.run())
    for _ in range(20):
        await asyncio.sleep(0)
    assert events.given == 3
    assert len([event async for event in body]) == 50
    await running


async def test_what_is_too_large_to_keep_is_still_read() -> None:
    body = spool_of(Events(*[b"x"] * 5), limit=3)
    running = asyncio.create_task(body.run())
    assert len([event async for event in body]) == 5
    await running
    assert body.whole is None


async def test_what_is_too_large_to_keep_ends_when_nobody_reads_it() -> None:
    events = Events(*[b"x"] * 50)
    body = spool_of(events, limit=3)
    body.leave()
    await body.run()
    assert events.given == 4
    assert events.closed == 1
