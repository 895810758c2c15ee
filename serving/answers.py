"""What is answered: OpenAI's objects for a finished completion and for each chunk of a streamed one."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from serving.completions import CompletionStream, Delta, Usage

Json = dict[str, Any]


@dataclass(slots=True)
class Choice:
    """One choice, when it is finished."""

    index: int
    text: str = ""
    finish_reason: str | None = None


class Answer(ABC):
    """The objects about one request. With ``include_usage`` every chunk says that usage is to come."""

    id_prefix: str
    whole_object: str
    chunk_object: str

    def __init__(self, stream: CompletionStream, *, include_usage: bool) -> None:
        self._include_usage = include_usage
        self._head: Json = {
            "id": self.id_prefix + stream.request_id.removeprefix("req-"),
            "created": int(time.time()),
            "model": stream.model,
        }

    def whole(self, choices: list[Choice], usage: Usage) -> Json:
        return {
            **self._head,
            "object": self.whole_object,
            "choices": [self._choice(choice) for choice in choices],
            "usage": _usage_object(usage),
        }

    @abstractmethod
    def opening(self, num_choices: int) -> Iterator[Json]:
        """Chunks before the first text."""

    @abstractmethod
    def chunks(self, delta: Delta) -> Iterator[Json]:
        """Chunks for one delta; none when it has nothing to show yet."""

    def usage_chunk(self, usage: Usage) -> Json:
        """The last chunk, for who asked for it."""
        return {**self._chunk([]), "usage": _usage_object(usage)}

    @abstractmethod
    def _choice(self, choice: Choice) -> Json: ...

    def _chunk(self, choices: list[Json]) -> Json:
        chunk = {**self._head, "object": self.chunk_object, "choices": choices}
        if self._include_usage:
            chunk["usage"] = None
        return chunk


class TextAnswer(Answer):
    """/v1/completions."""

    id_prefix = "cmpl-"
    whole_object = chunk_object = "text_completion"

    def opening(self, num_choices: int) -> Iterator[Json]:
        return iter(())

    def chunks(self, delta: Delta) -> Iterator[Json]:
        if delta.text or delta.finish_reason:
            yield self._chunk([self._choice(Choice(delta.index, delta.text, delta.finish_reason))])

    def _choice(self, choice: Choice) -> Json:
        return {
            "index": choice.index,
            "text": choice.text,
            "logprobs": None,
            "finish_reason": choice.finish_reason,
        }


class ChatAnswer(Answer):
    """/v1/chat/completions."""

    id_prefix = "chatcmpl-"
    whole_object = "chat.completion"
    chunk_object = "chat.completion.chunk"

    def opening(self, num_choices: int) -> Iterator[Json]:
        for index in range(num_choices):
            yield self._delta_chunk(index, {"role": "assistant", "content": ""})

    def chunks(self, delta: Delta) -> Iterator[Json]:
        if delta.text:
            yield self._delta_chunk(delta.index, {"content": delta.text})
        if delta.finish_reason:
            yield self._delta_chunk(delta.index, {}, delta.finish_reason)

    def _delta_chunk(self, index: int, delta: Json, finish_reason: str | None = None) -> Json:
        return self._chunk(
            [{"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}]
        )

    def _choice(self, choice: Choice) -> Json:
        return {
            "index": choice.index,
            "message": {"role": "assistant", "content": choice.text, "refusal": None},
            "logprobs": None,
            "finish_reason": choice.finish_reason,
        }


def _usage_object(usage: Usage) -> Json:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
