"""What is answered: one object for a finished completion, events for a streamed one. ``Answer`` is what all
endpoints have in common, ``OpenAIAnswer`` what OpenAI's two older ones have."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from apikeys.errors import ServiceError
from serving.completions import CompletionStream, Usage
from serving.deltas import Delta
from serving.engine.core import TokenLogprobs
from serving.errors import to_sse
from serving.logprobs import prompt_logprobs, text_logprobs
from serving.messages import ToolCall
from serving.tools.parser import CallPiece, Piece

Json = dict[str, Any]


@dataclass(slots=True)
class Choice:
    """One choice, when it is finished. ``stop_string`` is the one that ended it."""

    index: int
    parts: list[str | ToolCall] = field(default_factory=list)  # texts and calls, in their order
    finish_reason: str | None = None
    stop_string: str | None = None
    logprobs: tuple[TokenLogprobs, ...] = ()
    prompt_logprobs: tuple[TokenLogprobs, ...] | None = None

    @property
    def text(self) -> str:
        return "".join(part for part in self.parts if isinstance(part, str))

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        return tuple(part for part in self.parts if isinstance(part, ToolCall))

    @property
    def likelihood(self) -> float:
        """The mean logprob of its tokens: what best_of goes by."""
        return sum(one.logprob for one in self.logprobs) / max(1, len(self.logprobs))

    def take(self, delta: Delta) -> None:
        for piece in delta.pieces:
            self.put(piece)
        self.logprobs += delta.logprobs
        self.prompt_logprobs = self.prompt_logprobs or delta.prompt_logprobs
        self.finish_reason = delta.finish_reason
        self.stop_string = delta.stop_string

    def put(self, piece: Piece) -> bool:
        """Whether it begins another part."""
        last = self.parts[-1] if self.parts else None
        if isinstance(piece, str) and isinstance(last, str):
            self.parts[-1] = last + piece
        elif isinstance(piece, CallPiece) and not piece.id and isinstance(last, ToolCall):
            self.parts[-1] = replace(last, arguments=last.arguments + piece.arguments)
        else:
            self.parts.append(piece if isinstance(piece, str) else ToolCall(piece.id, piece.name, ""))
            return True
        return False


def likeliest(choices: list[Choice], n: int, best_of: int) -> list[Choice]:
    """The ``n`` likeliest of each prompt's ``best_of`` choices, numbered anew."""
    groups = (choices[at : at + best_of] for at in range(0, len(choices), best_of))
    kept = [choice for group in groups for choice in sorted(group, key=lambda choice: -choice.likelihood)[:n]]
    return [replace(choice, index=index) for index, choice in enumerate(kept)]


class Answer(ABC):
    """What one request is answered with: ``whole``, or events, which are bytes."""

    keepalive = b": keepalive\n\n"

    @abstractmethod
    def whole(self, choices: list[Choice], usage: Usage) -> Json: ...

    @abstractmethod
    def opening(self) -> Iterable[bytes]:
        """Before the first text."""

    @abstractmethod
    def pieces(self, delta: Delta) -> Iterable[bytes]:
        """Nothing when a delta has nothing to show yet."""

    async def settle(self, usage: Usage) -> None:
        """When all choices are finished, before that is told: what must be on record by then."""
        return

    @abstractmethod
    def closing(self, usage: Usage) -> Iterable[bytes]:
        """When all choices are finished."""

    def failure(self, error: ServiceError) -> bytes:
        """The last event of a stream that failed."""
        return to_sse(error)


class OpenAIAnswer(Answer):
    """With ``include_usage`` every chunk says that usage is to come."""

    id_prefix: str
    whole_object: str
    chunk_object: str

    def __init__(
        self, stream: CompletionStream, *, include_usage: bool = False, logprobs: bool = False
    ) -> None:
        self._include_usage = include_usage
        self._logprobs = logprobs
        self._tokenizer = stream.tokenizer
        self._num_choices = stream.num_choices
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

    def opening(self) -> Iterable[bytes]:
        return map(event, self._first_chunks())

    def pieces(self, delta: Delta) -> Iterable[bytes]:
        return map(event, self._chunks(delta))

    def closing(self, usage: Usage) -> Iterable[bytes]:
        if self._include_usage:
            yield event({**self._chunk([]), "usage": _usage_object(usage)})
        yield b"data: [DONE]\n\n"

    @abstractmethod
    def _first_chunks(self) -> Iterator[Json]: ...

    @abstractmethod
    def _chunks(self, delta: Delta) -> Iterator[Json]: ...

    @abstractmethod
    def _choice(self, choice: Choice) -> Json: ...

    def _chunk(self, choices: list[Json]) -> Json:
        chunk = {**self._head, "object": self.chunk_object, "choices": choices}
        if self._include_usage:
            chunk["usage"] = None
        return chunk


class TextAnswer(OpenAIAnswer):
    """/v1/completions."""

    id_prefix = "cmpl-"
    whole_object = chunk_object = "text_completion"

    def __init__(
        self, stream: CompletionStream, *, include_usage: bool = False, logprobs: bool = False
    ) -> None:
        super().__init__(stream, include_usage=include_usage, logprobs=logprobs)
        self._written: dict[int, int] = {}  # characters of each choice that have been sent

    def _first_chunks(self) -> Iterator[Json]:
        return iter(())

    def _chunks(self, delta: Delta) -> Iterator[Json]:
        if delta.text or delta.finish_reason or delta.logprobs:
            choice = Choice(delta.index)
            choice.take(delta)
            yield self._chunk([self._choice(choice)])
            self._written[delta.index] = self._written.get(delta.index, 0) + len(delta.text)

    def _choice(self, choice: Choice) -> Json:
        offset = self._written.get(choice.index, 0)
        body = {
            "index": choice.index,
            "text": choice.text,
            "logprobs": text_logprobs(self._tokenizer, choice.logprobs, offset) if self._logprobs else None,
            "finish_reason": choice.finish_reason,
        }
        if choice.prompt_logprobs is not None:
            body["prompt_logprobs"] = prompt_logprobs(self._tokenizer, choice.prompt_logprobs)
        return body


def event(body: Json, name: str = "") -> bytes:
    """A server-sent event; OpenAI's older ones have no name."""
    head = f"event: {name}\n".encode() if name else b""
    return head + b"data: " + _json(body) + b"\n\n"


def _json(body: Json) -> bytes:
    try:
        return orjson.dumps(body)
    except TypeError:  # what a caller sent comes back: half a surrogate pair, an integer of over 64 bits
        return json.dumps(body).encode()


def _usage_object(usage: Usage) -> Json:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
