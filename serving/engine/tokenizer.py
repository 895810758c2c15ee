"""Text to token ids and back. Wraps a transformers tokenizer; imports none itself."""

from __future__ import annotations

import copy
import threading
from collections.abc import Mapping
from collections.abc import Sequence as Seq
from typing import Any

from serving.engine.core import InvalidRequest


class Tokenizer:
    """Thread-safe: the fast tokenizers underneath may not be shared while they work. Decoding has one of
    its own, so that a stream does not wait for somebody's long prompt."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._lock = threading.Lock()
        self._decoder = copy.deepcopy(inner)
        self._decoder_lock = threading.Lock()
        self._longest_token = max(map(len, inner.get_vocab()))

    @property
    def has_chat_template(self) -> bool:
        return bool(self._inner.chat_template)

    def least_tokens(self, length: int) -> int:
        """How many tokens a text of ``length`` characters has at the very least. Takes no time."""
        return -(-length // self._longest_token)

    def encode(self, text: str) -> list[int]:
        """Token ids of ``text``, with the special tokens the model wants at its beginning."""
        with self._lock:
            ids: list[int] = self._inner(text, verbose=False)["input_ids"]
        return ids

    def apply_chat_template(self, messages: Seq[Mapping[str, str]]) -> list[int]:
        """Token ids of a chat (``role`` and ``content`` each), ready for the assistant's answer.

        Raises InvalidRequest when the model has no chat template or it refuses the messages.
        """
        if not self.has_chat_template:
            raise InvalidRequest("This model has no chat template; use /v1/completions instead.")
        try:
            with self._lock:
                ids: list[int] = self._inner.apply_chat_template(
                    [dict(message) for message in messages], add_generation_prompt=True, return_dict=False
                )
        except Exception as error:  # a template is a program of the model's maker: it may raise anything
            raise InvalidRequest(f"The model's chat template refuses these messages: {error}") from error
        return ids

    def decode(self, token_ids: Seq[int]) -> str:
        """Text of ``token_ids``, special tokens left out. Incomplete characters become U+FFFD."""
        with self._decoder_lock:
            text: str = self._decoder.decode(
                list(token_ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
        return text
