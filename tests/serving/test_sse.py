"""The events of one stream, which is fed by hand: silence and failures at will."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from apikeys.errors import ServiceError
from serving import sse
from serving.answers import TextAnswer
from serving.chat.answers import ChatAnswer
from serving.completions import Usage
from serving.deltas import SILENCE, Delta
from serving.errors import GenerationFailed


class HandFed:
    """Stands where a CompletionStream would: gives what it is told to, then ends or fails."""

    request_id, model, num_choices = "req-1", "m", 1
    usage = Usage(2, 3)
    tokenizer = None
    may_call = False

    def __init__(self, *deltas: Delta, error: Exception | None = None) -> None:
        self._deltas = iter(deltas)
        self._error = error
        self.closed = 0

    def __aiter__(self) -> AsyncIterator[Delta]:
        return self

    async def __anext__(self) -> Delta:
        for delta in self._deltas:
            return delta
        if self._error is not None:
            raise self._error
        raise StopAsyncIteration

    def close(self) -> None:
        self.closed += 1


def says(text: str) -> Delta:
    return Delta(0, text, pieces=(text,))


def body_of(stream: Any, *, chat: bool = False, include_usage: bool = False) -> sse.EventStream:
    answer = (ChatAnswer if chat else TextAnswer)(stream, include_usage=include_usage)
    return sse.EventStream(stream, answer)


async def events_of(body: sse.EventStream) -> list[Any]:
    events = [event.decode() async for event in body]
    assert all(event.endswith("\n\n") for event in events)
    return [
        json.loads(event.removeprefix("data: ")) if event.startswith("data: {") else event.strip()
        for event in events
    ]


async def test_a_stream_ends_with_done() -> None:
    events = await events_of(body_of(HandFed(says("a"), Delta(0, "", finish_reason="stop"))))
    assert [event["choices"][0]["text"] for event in events[:-1]] == ["a", ""]
    assert events[-1] == "data: [DONE]"


async def test_a_delta_without_text_is_no_event() -> None:
    events = await events_of(body_of(HandFed(Delta(0, "", (1,)), says("a"))))
    assert len(events) == 2


async def test_a_failure_in_mid_stream_is_an_error_event_and_the_end() -> None:
    events = await events_of(body_of(HandFed(says("a"), error=GenerationFailed("broken"))))
    assert events[-1]["error"]["message"] == "broken"
    assert len(events) == 2


async def test_a_mistake_of_ours_in_mid_stream_tells_nothing_of_itself(
    caplog: pytest.LogCaptureFixture,
) -> None:
    events = await events_of(body_of(HandFed(error=ZeroDivisionError("secret"))))
    assert events[-1]["error"]["code"] == "internal_error"
    assert "secret" not in str(events)
    assert "req-1" in caplog.text


async def test_silence_is_filled_with_comments_and_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "KEEPALIVE_AFTER", 0.02)
    queue: asyncio.Queue[Delta | None] = asyncio.Queue()

    class Slow(HandFed):
        async def __anext__(self) -> Delta:
            delta = await queue.get()
            if delta is None:
                raise StopAsyncIteration
            return delta

        def tell_silence(self) -> None:
            queue.put_nowait(SILENCE)

    body = body_of(Slow())
    reading = asyncio.create_task(events_of(body))
    await asyncio.sleep(0.1)
    for delta in (says("a"), says("b"), None):
        await queue.put(delta)
    events = await reading
    assert events[0] == ": keepalive"
    texts = [event["choices"][0]["text"] for event in events if isinstance(event, dict)]
    assert texts == ["a", "b"]


async def test_usage_comes_in_a_chunk_of_its_own_before_done() -> None:
    events = await events_of(body_of(HandFed(says("a")), include_usage=True))
    assert events[-2]["usage"] == {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}
    assert events[-2]["choices"] == []
    assert events[0]["usage"] is None


async def test_without_include_usage_no_chunk_speaks_of_it() -> None:
    events = await events_of(body_of(HandFed(says("a")), chat=True))
    assert all("usage" not in event for event in events[:-1])


async def test_closing_the_body_closes_the_stream() -> None:
    stream = HandFed(says("a"), error=ServiceError("never read"))
    body = body_of(stream)
    await anext(aiter(body))
    body.close()
    assert stream.closed == 1
