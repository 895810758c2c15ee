"""OpenAI's chat completion, whole or as chunks."""

from __future__ import annotations

from collections.abc import Iterator

from serving.answers import Choice, Json, OpenAIAnswer
from serving.completions import Delta
from serving.engine.core import TokenLogprobs
from serving.logprobs import chat_logprobs


class ChatAnswer(OpenAIAnswer):
    """/v1/chat/completions."""

    id_prefix = "chatcmpl-"
    whole_object = "chat.completion"
    chunk_object = "chat.completion.chunk"

    def _first_chunks(self) -> Iterator[Json]:
        for index in range(self._num_choices):
            yield self._delta_chunk(index, {"role": "assistant", "content": ""})

    def _chunks(self, delta: Delta) -> Iterator[Json]:
        if delta.text or delta.logprobs:
            yield self._delta_chunk(delta.index, {"content": delta.text}, logprobs=self._told(delta.logprobs))
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
            "message": {"role": "assistant", "content": choice.text, "refusal": None},
            "logprobs": self._told(choice.logprobs),
            "finish_reason": choice.finish_reason,
        }
