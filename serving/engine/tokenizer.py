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
        self._size = len(inner)

    @property
    def has_chat_template(self) -> bool:
        return bool(self._inner.chat_template)

    def least_tokens(self, length: int) -> int:
        """How many tokens a text of ``length`` characters has at the very least. Takes no time."""
        return -(-length // self._longest_token)

    def encode(self, text: str, *, special: bool = True) -> list[int]:
        """Token ids of ``text``; ``special``: with those that the model wants at its beginning."""
        with self._lock:
            ids: list[int] = self._inner(text, verbose=False, add_special_tokens=special)["input_ids"]
        return ids

    def apply_chat_template(
        self, messages: Seq[Mapping[str, str]], *, answer: bool = True, go_on: bool = False
    ) -> list[int]:
        """Token ids of a chat (``role`` and ``content`` each): with ``answer`` ready for the assistant's
        answer, with ``go_on`` ready for more of the last message instead.

        Raises InvalidRequest when the model has no chat template or it refuses the messages.
        """
        if not self.has_chat_template:
            raise InvalidRequest("This model has no chat template; use /v1/completions instead.")
        try:
            with self._lock:
                ids: list[int] = self._inner.apply_chat_template(
                    [dict(message) for message in messages],
                    add_generation_prompt=answer and not go_on,
                    continue_final_message=go_on,
                    return_dict=False,
                )
        except Exception as error:  # a template is a program of the model's maker: it may raise anything
            raise InvalidRequest(f"The model's chat template refuses these messages: {error}") from error
        return ids

    def decode(self, token_ids: Seq[int], *, special: bool = False) -> str:
        """Text of ``token_ids``, without special tokens unless ``special``. Incomplete characters become
        U+FFFD."""
        with self._decoder_lock:
            text: str = self._decoder.decode(
                list(token_ids), skip_special_tokens=not special, clean_up_tokenization_spaces=False
            )
        return text

    def spell(self, token_ids: Seq[int]) -> list[str]:
        """Each token as the vocabulary writes it, which need not be text by itself."""
        with self._decoder_lock:
            spelled: list[str] = self._decoder.convert_ids_to_tokens(list(token_ids))
        return spelled

    def knows(self, token_ids: Seq[int]) -> bool:
        """Whether the vocabulary has every one of them."""
        return all(0 <= token < self._size for token in token_ids)
