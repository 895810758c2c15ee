"""What a response's output is made of: a message for each text, an item for each call. An event is its kind
and what it says."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

from serving.answers import Json
from serving.messages import ToolCall

Event = tuple[str, Json]


class Item(ABC):
    """``status``: in_progress, completed or incomplete."""

    def __init__(self, item_id: str, index: int) -> None:
        self._id, self._place = item_id, {"item_id": item_id, "output_index": index}

    @abstractmethod
    def body(self, status: str) -> Json: ...

    @abstractmethod
    def begin(self) -> Iterator[Event]: ...

    @abstractmethod
    def grow(self, piece: str) -> Event: ...

    @abstractmethod
    def end(self, status: str) -> Iterator[Event]: ...

    def _whole(self, kind: str, body: Json) -> Event:
        return f"response.output_item.{kind}", {"output_index": self._place["output_index"], "item": body}


class MessageItem(Item):
    """Of one text."""

    def __init__(self, item_id: str, index: int, text: str) -> None:
        super().__init__(item_id, index)
        self._text, self._part = text, {**self._place, "content_index": 0}

    def body(self, status: str) -> Json:
        message = {"id": self._id, "type": "message", "role": "assistant", "status": status}
        return {**message, "content": [_part(self._text)]}

    def begin(self) -> Iterator[Event]:
        yield self._whole("added", {**self.body("in_progress"), "content": []})
        yield "response.content_part.added", {**self._part, "part": _part("")}

    def grow(self, piece: str) -> Event:
        return "response.output_text.delta", {**self._part, "delta": piece, "logprobs": []}

    def end(self, status: str) -> Iterator[Event]:
        yield "response.output_text.done", {**self._part, "text": self._text, "logprobs": []}
        yield "response.content_part.done", {**self._part, "part": _part(self._text)}
        yield self._whole("done", self.body(status))


class CallItem(Item):
    """Of one call."""

    def __init__(self, index: int, call: ToolCall) -> None:
        super().__init__(f"fc_{call.id.removeprefix('call_')}", index)
        self._call = call

    def body(self, status: str) -> Json:
        head = {"id": self._id, "type": "function_call", "status": status, "call_id": self._call.id}
        return {**head, "name": self._call.name, "arguments": self._call.arguments}

    def begin(self) -> Iterator[Event]:
        yield self._whole("added", self.body("in_progress"))

    def grow(self, piece: str) -> Event:
        return "response.function_call_arguments.delta", {**self._place, "delta": piece}

    def end(self, status: str) -> Iterator[Event]:
        told = {"name": self._call.name, "arguments": self._call.arguments}
        yield "response.function_call_arguments.done", {**self._place, **told}
        yield self._whole("done", self.body(status))


def item_of(part: str | ToolCall, index: int, message_id: str) -> Item:
    """``message_id`` is that of a message at the beginning."""
    if isinstance(part, ToolCall):
        return CallItem(index, part)
    return MessageItem(f"{message_id}_{index}" if index else message_id, index, part)


def _part(text: str) -> Json:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
