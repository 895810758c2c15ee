"""Anthropic's message, whole or as events."""

from __future__ import annotations

from collections.abc import Iterable

from apikeys.errors import ServiceError
from serving.answers import Answer, Choice, Json, event
from serving.completions import CompletionStream, Usage
from serving.deltas import Delta
from serving.errors import anthropic_body

STOP_REASONS = {"stop": "end_turn", "length": "max_tokens"}


class MessageAnswer(Answer):
    """One message of one text block."""

    keepalive = event({"type": "ping"}, "ping")

    def __init__(self, stream: CompletionStream) -> None:
        self._prompt_tokens = stream.usage.prompt_tokens
        self._end: Json = {"stop_reason": None, "stop_sequence": None}
        self._head: Json = {
            "id": "msg_" + stream.request_id.removeprefix("req-"),
            "type": "message",
            "role": "assistant",
            "model": stream.model,
        }

    def whole(self, choices: list[Choice], usage: Usage) -> Json:
        (choice,) = choices
        return {
            **self._head,
            "content": [{"type": "text", "text": choice.text}],
            **_end(choice.finish_reason, choice.stop_string),
            "usage": _usage(usage.prompt_tokens, usage.completion_tokens),
        }

    def opening(self) -> Iterable[bytes]:
        message = {**self._head, "content": [], **self._end, "usage": _usage(self._prompt_tokens, 0)}
        yield _event("message_start", message=message)
        yield _event("content_block_start", index=0, content_block={"type": "text", "text": ""})
        yield self.keepalive

    def pieces(self, delta: Delta) -> Iterable[bytes]:
        if delta.text:
            yield _event("content_block_delta", index=0, delta={"type": "text_delta", "text": delta.text})
        if delta.finish_reason:
            self._end = _end(delta.finish_reason, delta.stop_string)

    def closing(self, usage: Usage) -> Iterable[bytes]:
        yield _event("content_block_stop", index=0)
        counts = _usage(usage.prompt_tokens, usage.completion_tokens)
        yield _event("message_delta", delta=self._end, usage=counts)
        yield _event("message_stop")

    def failure(self, error: ServiceError) -> bytes:
        return event(anthropic_body(error), "error")


def _event(kind: str, **fields: object) -> bytes:
    return event({"type": kind, **fields}, kind)


def _end(finish_reason: str | None, stop_string: str | None) -> Json:
    reason = "stop_sequence" if stop_string is not None else STOP_REASONS.get(finish_reason or "")
    return {"stop_reason": reason, "stop_sequence": stop_string}


def _usage(input_tokens: int, output_tokens: int) -> Json:
    return {"input_tokens": input_tokens, "output_tokens": output_tokens}
