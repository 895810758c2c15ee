"""OpenAI's response, whole or as events."""

from __future__ import annotations

import time
from collections.abc import Iterable

from apikeys.errors import ServiceError
from serving.answers import Answer, Choice, Json, event
from serving.completions import CompletionStream, Usage
from serving.deltas import Delta
from serving.messages import Message
from serving.responses.schemas import ResponseRequest
from serving.responses.store import keep


class ResponseAnswer(Answer):
    """One message of one text. Kept, if it is to be, before its end is told."""

    def __init__(self, stream: CompletionStream, asked: ResponseRequest, owner: int) -> None:
        hexadecimal = stream.request_id.removeprefix("req-")
        self._asked, self._owner = asked, owner
        self._message_id = f"msg_{hexadecimal}"
        self._choice = Choice(0)
        self._numbers = 0
        sampling = asked.chat.sampling
        self._head: Json = {
            "id": f"resp_{hexadecimal}",
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
            "tools": [],
            "tool_choice": "auto",
            "parallel_tool_calls": True,
            "truncation": "disabled",
            "error": None,
        }

    def whole(self, choices: list[Choice], usage: Usage) -> Json:
        (self._choice,) = choices
        return self._response(self._status, usage)

    def opening(self) -> Iterable[bytes]:
        for kind in ("created", "in_progress"):
            yield self._event(f"response.{kind}", response=self._response("in_progress"))
        item = {**self._item("in_progress"), "content": []}
        yield self._event("response.output_item.added", output_index=0, item=item)
        yield self._event("response.content_part.added", **self._place, part=_part(""))

    def pieces(self, delta: Delta) -> Iterable[bytes]:
        self._choice.take(delta)
        if delta.text:
            yield self._event("response.output_text.delta", **self._place, delta=delta.text, logprobs=[])

    async def settle(self, usage: Usage) -> None:
        if self._asked.store:
            turns = (*self._asked.chat.messages, Message("assistant", self._choice.text))
            await keep(self._owner, self._response(self._status, usage), turns)

    def closing(self, usage: Usage) -> Iterable[bytes]:
        text, status = self._choice.text, self._status
        yield self._event("response.output_text.done", **self._place, text=text, logprobs=[])
        yield self._event("response.content_part.done", **self._place, part=_part(text))
        yield self._event("response.output_item.done", output_index=0, item=self._item(status))
        yield self._event(f"response.{status}", response=self._response(status, usage))

    def failure(self, error: ServiceError) -> bytes:
        return self._event("error", code=error.code, message=error.message, param=error.param)

    @property
    def _status(self) -> str:
        return "incomplete" if self._choice.finish_reason == "length" else "completed"

    @property
    def _place(self) -> Json:
        return {"item_id": self._message_id, "output_index": 0, "content_index": 0}

    def _event(self, kind: str, **fields: object) -> bytes:
        number = self._numbers
        self._numbers += 1
        return event({"type": kind, "sequence_number": number, **fields}, kind)

    def _item(self, status: str) -> Json:
        return {
            "id": self._message_id,
            "type": "message",
            "role": "assistant",
            "status": status,
            "content": [_part(self._choice.text)],
        }

    def _response(self, status: str, usage: Usage | None = None) -> Json:
        cut = status == "incomplete"
        return {
            **self._head,
            "status": status,
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "output": [] if usage is None else [self._item(status)],
            "usage": None if usage is None else _usage(usage),
        }


def _part(text: str) -> Json:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _usage(usage: Usage) -> Json:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
