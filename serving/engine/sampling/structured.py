"""Forms that an answer must have: JSON Schema, regular expression, Lark grammar, choice. llguidance compiles
them and says for each step which tokens may come."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from llguidance.hf import from_tokenizer

from serving.engine.errors import InvalidRequest

if TYPE_CHECKING:
    from llguidance._lib import JsonCompileOptions

GrammarKind = Literal["json_schema", "json_object", "regex", "lark", "choice", "tools"]

# llguidance limits what a source may expand to, but follows rules by recursion: some 3,500 that lead to one
# another overflow the stack, and with it end the process. Within these no source comes near that.
MAX_SOURCE_BYTES = {
    "json_schema": 64 * 1024,
    "json_object": 64 * 1024,
    "choice": 64 * 1024,
    "regex": 16 * 1024,
    "lark": 16 * 1024,
    "tools": 64 * 1024,  # a Lark grammar of the server's own, around JSON Schemas
}
_KEPT = 64
_LIMITS = LLParserLimits(verbose_errors=False)
# Enough to indent by; without an end a small model may never come back from white space.
_JSON: JsonCompileOptions = {"whitespace_pattern": r"[ \n\t]{1,40}"}


@dataclass(frozen=True, slots=True)
class CompiledGrammar:
    """A ``Grammar``: sequences start as copies of one compiled beginning."""

    beginning: LLMatcher
    mask_words: int
    lock: threading.Lock

    def start(self) -> GrammarMatcher:
        with self.lock:
            return GrammarMatcher(self.beginning.deep_copy(), self.mask_words)


class GrammarMatcher:
    """A ``GrammarState``."""

    def __init__(self, matcher: LLMatcher, mask_words: int) -> None:
        self._matcher = matcher
        self._mask = np.empty(mask_words, np.int32)

    def allowed(self) -> npt.NDArray[np.int32]:
        self._matcher.unsafe_compute_mask_ptr(self._mask.ctypes.data, self._mask.nbytes)
        return self._mask

    def accept(self, token: int) -> None:
        self._matcher.consume_token(token)

    @property
    def finished(self) -> bool:
        return bool(self._matcher.is_stopped())

    @property
    def error(self) -> str | None:
        return str(self._matcher.get_error()) or None


class GrammarCompiler:
    """Compiles for one model's tokenizer. Thread-safe, and not for the event loop: compiling takes up to some
    hundred milliseconds."""

    def __init__(self, tokenizer: Any, vocab_size: int, eos_token_ids: Collection[int]) -> None:
        """``tokenizer``: a transformers one. Takes about a second."""
        self._mask_words = -(-vocab_size // 32)
        self._tokenizer = _readable(tokenizer, vocab_size, eos_token_ids)
        self._lock = threading.Lock()
        self._compiled: OrderedDict[tuple[str, str], CompiledGrammar] = OrderedDict()

    def compile(self, kind: GrammarKind, source: Any = None) -> CompiledGrammar:
        """``source``: a schema (as JSON text or parsed), a regular expression, a Lark grammar, a list of
        strings, or nothing for json_object. Raises InvalidRequest in the library's words."""
        try:
            text = source if isinstance(source, str) else json.dumps(source)
        except RecursionError as error:
            raise InvalidRequest(f"The {kind} grammar is nested too deeply.") from error
        if len(text.encode(errors="replace")) > MAX_SOURCE_BYTES[kind]:
            raise InvalidRequest(f"The {kind} grammar is longer than {MAX_SOURCE_BYTES[kind]} bytes.")
        key = (kind, text)
        with self._lock:
            if key in self._compiled:
                self._compiled.move_to_end(key)
                return self._compiled[key]
        compiled = self._compile(kind, text)
        with self._lock:
            self._compiled[key] = compiled
            while len(self._compiled) > _KEPT:
                self._compiled.popitem(last=False)
        return compiled

    def _compile(self, kind: GrammarKind, text: str) -> CompiledGrammar:
        if self._tokenizer is None:
            raise InvalidRequest("This model's tokenizer has no form that grammars can be compiled for.")
        try:
            definition = _definition(kind, text)
        except ValueError as error:
            raise InvalidRequest(f"The {kind} grammar is not valid: {error}") from error
        matcher = LLMatcher(self._tokenizer, definition, log_level=0, limits=_LIMITS)
        # The first mask, the slowest by far, is computed here and not on the engine's thread.
        started = matcher.deep_copy()
        if not matcher.is_error():
            started.compute_bitmask()
        if started.is_error():
            raise InvalidRequest(f"The {kind} grammar is not valid: {started.get_error().strip()}")
        return CompiledGrammar(matcher, self._mask_words, threading.Lock())


def _definition(kind: GrammarKind, text: str) -> str:
    """What LLMatcher takes. Raises ValueError."""
    match kind:
        case "json_schema":
            return str(LLMatcher.grammar_from_json_schema(text, overrides=_JSON))
        case "json_object":
            return str(LLMatcher.grammar_from_json_schema({"type": "object"}, overrides=_JSON))
        case "regex":
            return str(LLMatcher.grammar_from_regex(text))
        case "lark" | "tools":
            return str(LLMatcher.grammar_from_lark(text))
        case "choice":
            choices = json.loads(text)
            if not choices or not all(isinstance(choice, str) and choice for choice in choices):
                raise ValueError("give at least one string, and none that is empty.")
            # One terminal: as rules no more than 2,000 could be told apart.
            return str(
                LLMatcher.grammar_from_lark("start: ANY\nANY: " + " | ".join(map(json.dumps, choices)))
            )


def _readable(tokenizer: Any, vocab_size: int, eos_token_ids: Collection[int]) -> LLTokenizer | None:
    """None for the few tokenizers that are not Rust's ``tokenizers``."""
    try:
        return from_tokenizer(tokenizer, n_vocab=vocab_size, eos_token=sorted(eos_token_ids) or None)
    except ValueError:
        return None
