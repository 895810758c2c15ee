"""OpenAI's response, whole or as events."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from apikeys.errors import ServiceError
from serving.answers import Answer, Choice, Json, event
from serving.completions import CompletionStream, Usage
from serving.deltas import Delta
from serving.messages import Message
from serving.responses.items import Event, Item, item_of
from serving.responses.schemas import ResponseRequest
from serving.responses.store import keep
from serving.responses.tools import describe_choice, describe_tool
from serving.tools.parser import Piece


class ResponseAnswer(Answer):
    """An item for each text and each call. Kept, if it is to be, before its end is told."""

    def __init__(self, stream: CompletionStream, asked: ResponseRequest, owner: int) -> None:
        self._hexadecimal = stream.request_id.removeprefix("req-")
        self._asked, self._owner = asked, owner
        self._choice = Choice(0)
        self._numbers = 0
        sampling = asked.chat.sampling
        self._head: Json = {
            "id": f"resp_{self._hexadecimal}",
            "object": "response",
            "created_at": int(time.time()),
            "model": stream.model,
            "instructions": asked.instructions,
            "previous_response_id": asked.previous,
            "store": asked.store,
            "metadata": asked.metadata,
            "max_output_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "text": {"format": asked.text_format},
            "tools": [describe_tool(tool) for tool in asked.tools],
            "tool_choice": describe_choice(asked.tool_choice),
            "parallel_tool_calls": asked.parallel,
            "truncation": "disabled",
            "error": None,
        }

    def whole(self, choices: list[Choice], usage: Usage) -> Json:
        (self._choice,) = choices
        return self._response(self._status, usage)

    def opening(self) -> Iterable[bytes]:
        for kind in ("created", "in_progress"):
            yield self._event(f"response.{kind}", response=self._response("in_progress"))

    def pieces(self, delta: Delta) -> Iterable[bytes]:
        for piece in delta.pieces:
            yield from self._put(piece)
        self._choice.finish_reason = delta.finish_reason

    async def settle(self, usage: Usage) -> None:
        if self._asked.store:
            said = Message("assistant", self._choice.text, self._choice.calls)
            turns = (*self._asked.chat.messages, said)
            await keep(self._owner, self._response(self._status, usage), turns)

    def closing(self, usage: Usage) -> Iterable[bytes]:
        if not self._choice.parts:
            yield from self._put("")
        status = self._status
        yield from self._events(self._items[-1].end(status))
        yield self._event(f"response.{status}", response=self._response(status, usage))

    def failure(self, error: ServiceError) -> bytes:
        return self._event("error", code=error.code, message=error.message, param=error.param)

    def _put(self, piece: Piece) -> Iterator[bytes]:
        if self._choice.put(piece):
            for before in self._items[-2:-1]:
                yield from self._events(before.end("completed"))
            yield from self._events(self._items[-1].begin())
        if grown := piece if isinstance(piece, str) else piece.arguments:
            yield from self._events([self._items[-1].grow(grown)])

    @property
    def _status(self) -> str:
        return "incomplete" if self._choice.finish_reason == "length" else "completed"

    @property
    def _items(self) -> list[Item]:
        message_id = f"msg_{self._hexadecimal}"
        return [item_of(part, index, message_id) for index, part in enumerate(self._choice.parts or [""])]

    def _events(self, events: Iterable[Event]) -> Iterator[bytes]:
        return (self._event(kind, **fields) for kind, fields in events)

    def _event(self, kind: str, **fields: object) -> bytes:
        number = self._numbers
        self._numbers += 1
        return event({"type": kind, "sequence_number": number, **fields}, kind)

    def _response(self, status: str, usage: Usage | None = None) -> Json:
        cut = status == "incomplete"
        return {
            **self._head,
            "status": status,
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "output": [] if usage is None else self._output(status),
            "usage": None if usage is None else _usage(usage),
        }

    def _output(self, status: str) -> list[Json]:
        """Only the last item can be incomplete."""
        *others, last = self._items
        return [*(item.body("completed") for item in others), last.body(status)]


def _usage(usage: Usage) -> Json:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
