"""Text to token ids and back. Wraps a transformers tokenizer; imports none itself."""

from __future__ import annotations

import copy
import re
import threading
from collections.abc import Callable, Mapping
from collections.abc import Sequence as Seq
from typing import Any

from serving.engine.errors import InvalidRequest

# How byte-level vocabularies write bytes: what can be seen as Latin-1 has it, the others from U+0100 on
# (GPT-2's encoder.py).
_SEEN = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_UNSEEN = [byte for byte in range(256) if byte not in _SEEN]
_BYTES = {chr(byte): byte for byte in _SEEN} | {chr(256 + i): byte for i, byte in enumerate(_UNSEEN)}


class Tokenizer:
    """Thread-safe: the fast tokenizers underneath may not be shared while they work. Decoding has one of
    its own, so that a stream does not wait for somebody's long prompt."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._lock = threading.Lock()
        self._decoder = copy.deepcopy(inner)
        self._decode = _decode_of(self._decoder)
        self._decoder_lock = threading.Lock()
        self._longest_token = max(map(len, inner.get_vocab()))
        self._size = len(inner)
        added = inner.added_tokens_decoder.items()
        self._special = frozenset(token for token, about in added if about.special)
        # Of tokens that were asked for:
        self._bytes: dict[int, bytes] = {}
        self._texts: dict[int, str] = {}

    @property
    def has_chat_template(self) -> bool:
        return bool(self._inner.chat_template)

    @property
    def is_busy(self) -> bool:
        """Whether ``encode`` would have to wait for somebody else's text."""
        return self._lock.locked()

    def least_tokens(self, length: int) -> int:
        """How many tokens a text of ``length`` characters has at the very least. Takes no time."""
        return -(-length // self._longest_token)

    def encode(self, text: str, *, special: bool = True) -> list[int]:
        """Token ids of ``text``; ``special``: with those that the model wants at its beginning."""
        with self._lock:
            ids: list[int] = self._inner(text, verbose=False, add_special_tokens=special)["input_ids"]
        return ids

    def apply_chat_template(
        self,
        messages: Seq[Mapping[str, Any]],
        tools: Seq[Mapping[str, Any]] = (),
        *,
        answer: bool = True,
        go_on: bool = False,
    ) -> list[int]:
        """Token ids of a chat in transformers' shape (``role`` and ``content`` each), and of the ``tools`` if
        the template tells of any: with ``answer`` ready for the assistant's answer, with ``go_on`` ready for
        more of the last message instead.

        Raises InvalidRequest when the model has no chat template or it refuses the messages.
        """
        ends = {"add_generation_prompt": answer and not go_on, "continue_final_message": go_on}
        ids: list[int] = self._apply_chat_template(messages, tools, return_dict=False, **ends)
        return ids

    def render_chat(
        self, messages: Seq[Mapping[str, Any]], tools: Seq[Mapping[str, Any]] = (), *, answer: bool = True
    ) -> str:
        """The text of what ``apply_chat_template`` has the tokens of."""
        text: str = self._apply_chat_template(messages, tools, tokenize=False, add_generation_prompt=answer)
        return text

    def _apply_chat_template(
        self, messages: Seq[Mapping[str, Any]], tools: Seq[Mapping[str, Any]], **options: bool
    ) -> Any:
        if not self.has_chat_template:
            raise InvalidRequest("This model has no chat template; use /v1/completions instead.")
        try:
            with self._lock:
                return self._inner.apply_chat_template(
                    [dict(message) for message in messages], tools=list(tools) or None, **options
                )
        except Exception as error:  # a template is a program of the model's maker: it may raise anything
            raise InvalidRequest(f"The model's chat template refuses these messages: {error}") from error

    def decode(
        self, token_ids: Seq[int], *, special: bool = False, shown: frozenset[int] = frozenset()
    ) -> str:
        """Text of ``token_ids``, without special tokens unless ``special`` or among the ``shown``. Incomplete
        characters become U+FFFD."""
        if len(token_ids) == 1 and not special and not shown:
            return self._text_of(token_ids[0])
        if shown:
            token_ids = [token for token in token_ids if token in shown or token not in self._special]
        with self._decoder_lock:
            return self._decode(list(token_ids), not (special or shown))

    def _text_of(self, token: int) -> str:
        """Kept: of two texts that a stream decodes for each token, one is a single token's."""
        if token not in self._texts:
            with self._decoder_lock:
                self._texts[token] = self._decode([token], True)
        return self._texts[token]

    def find(self, text: str) -> int | None:
        """The token that the vocabulary has for exactly ``text``."""
        with self._decoder_lock:
            token: int | None = self._decoder.convert_tokens_to_ids(text)
            known = token is not None and self._decoder.convert_ids_to_tokens(token) == text
        return token if known else None

    def spell(self, token_ids: Seq[int]) -> list[str]:
        """Each token as the vocabulary writes it, which need not be text by itself."""
        with self._decoder_lock:
            spelled: list[str] = self._decoder.convert_ids_to_tokens(list(token_ids))
        return spelled

    def token_bytes(self, token: int) -> bytes:
        """What one token adds to a text, as UTF-8, of which it may be a part that is no text by itself."""
        if token not in self._bytes:
            self._bytes[token] = self._find_bytes(token)
        return self._bytes[token]

    def _find_bytes(self, token: int) -> bytes:
        (spelled,) = self.spell((token,))
        if re.fullmatch("<0x[0-9A-F]{2}>", spelled):
            return bytes([int(spelled[3:5], 16)])
        text = self.decode((token,), special=True)
        if "\N{REPLACEMENT CHARACTER}" in text and all(letter in _BYTES for letter in spelled):
            return bytes(_BYTES[letter] for letter in spelled)
        space = " " if spelled.startswith("\u2581") and not text.startswith(" ") else ""
        return (space + text).encode()

    def knows(self, token_ids: Seq[int]) -> bool:
        """Whether the vocabulary has every one of them."""
        return all(0 <= token < self._size for token in token_ids)


def _decode_of(inner: Any) -> Callable[[list[int], bool], str]:
    """The ids' text, with special tokens left out or not. Where transformers only hands on to the tokenizer
    underneath, without the way through it, which takes three times as long as decoding a token."""
    ways = inner.decode.__qualname__, inner._decode.__qualname__
    if ways == ("PreTrainedTokenizerBase.decode", "TokenizersBackend._decode"):
        decode: Callable[[list[int], bool], str] = inner.backend_tokenizer.decode
        return decode
    return lambda ids, skip: inner.decode(ids, skip_special_tokens=skip, clean_up_tokenization_spaces=False)
