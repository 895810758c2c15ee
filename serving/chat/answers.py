"""OpenAI's chat completion, whole or as chunks."""

from __future__ import annotations

from collections.abc import Iterator

from serving.answers import Choice, Json, OpenAIAnswer
from serving.completions import CompletionStream
from serving.deltas import Delta
from serving.engine.core import TokenLogprobs
from serving.logprobs import chat_logprobs
from serving.tools.parser import CallPiece


class ChatAnswer(OpenAIAnswer):
    """/v1/chat/completions."""

    id_prefix = "chatcmpl-"
    whole_object = "chat.completion"
    chunk_object = "chat.completion.chunk"

    def __init__(
        self, stream: CompletionStream, *, include_usage: bool = False, logprobs: bool = False
    ) -> None:
        super().__init__(stream, include_usage=include_usage, logprobs=logprobs)
        self._begun = None if stream.may_call else ""  # what it has if nothing but calls comes

    def _first_chunks(self) -> Iterator[Json]:
        for index in range(self._num_choices):
            yield self._delta_chunk(index, {"role": "assistant", "content": self._begun})

    def _chunks(self, delta: Delta) -> Iterator[Json]:
        if delta.text or delta.logprobs:
            yield self._delta_chunk(delta.index, {"content": delta.text}, logprobs=self._told(delta.logprobs))
        for piece in delta.pieces:
            if isinstance(piece, CallPiece):
                yield self._delta_chunk(delta.index, {"tool_calls": [_call_delta(piece)]})
        if delta.finish_reason:
            yield self._delta_chunk(delta.index, {}, delta.finish_reason)

    def _delta_chunk(
        self, index: int, delta: Json, finish_reason: str | None = None, logprobs: Json | None = None
    ) -> Json:
        return self._chunk(
            [{"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}]
        )

    def _told(self, logprobs: tuple[TokenLogprobs, ...]) -> Json | None:
        return chat_logprobs(self._tokenizer, logprobs) if self._logprobs else None

    def _choice(self, choice: Choice) -> Json:
        return {
            "index": choice.index,
            "message": {"role": "assistant", "content": choice.text, "refusal": None, **_calls(choice)},
            "logprobs": self._told(choice.logprobs),
            "finish_reason": choice.finish_reason,
        }


def _calls(choice: Choice) -> Json:
    if not choice.calls:
        return {}
    calls = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in choice.calls
    ]
    return {"content": choice.text or None, "tool_calls": calls}


def _call_delta(piece: CallPiece) -> Json:
    begun = {"id": piece.id, "type": "function"} if piece.id else {}
    named = {"name": piece.name} if piece.id else {}
    return {"index": piece.number, **begun, "function": {**named, "arguments": piece.arguments}}
