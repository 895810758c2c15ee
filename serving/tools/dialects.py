"""What a model knows of tools by itself: whether its chat template tells it of them, and how it then writes
calls. A model whose template does not, or whose calls could not be read, is told in words (prompt.py)."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from serving.engine.errors import InvalidRequest
from serving.tools.formats import FORMATS, HERMES, ToolFormat

if TYPE_CHECKING:  # the site can start without
    from serving.engine.tokenizer import Tokenizer

_ASKED = "Is this the probe?"
_TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "probe_tool",
        "description": "Probes.",
        "parameters": {"type": "object", "properties": {"x": {"type": "string", "description": "It."}}},
    },
}
_CALL = {"id": "probe0123", "type": "function", "function": {"name": "probe_tool", "arguments": {"x": "y"}}}


@dataclass(frozen=True)
class Dialect:
    """``in_template``: whether the chat template tells of tools. ``tokens``: which of the format's strings
    are tokens of the model's."""

    format: ToolFormat
    in_template: bool
    tokens: Mapping[str, int]

    @functools.cached_property
    def shown(self) -> frozenset[int]:
        """Tokens that must not be lost on the way to text."""
        return frozenset(self.tokens.values())

    def split(self, text: str) -> list[str | int]:
        """``text`` as tokens where it is made of such, and what is between them."""
        parts = re.split("|".join(f"({re.escape(token)})" for token in self.tokens) or "(?!)", text)
        return [self.tokens.get(part, part) for part in parts if part]


@functools.lru_cache(maxsize=16)
def dialect_of(tokenizer: Tokenizer) -> Dialect:
    """Takes some milliseconds, once."""
    known = _known_format(tokenizer)
    form = known or HERMES
    tokens = {text: token for text in form.tokens if (token := tokenizer.find(text)) is not None}
    return Dialect(form, known is not None, tokens)


def _known_format(tokenizer: Tokenizer) -> ToolFormat | None:
    """The one in which the template writes a call that it is shown, if it tells of tools at all."""
    asked: dict[str, Any] = {"role": "user", "content": _ASKED}
    called: dict[str, Any] = {"role": "assistant", "content": "", "tool_calls": [_CALL]}
    try:
        told = tokenizer.render_chat([asked], [_TOOL])
        written = tokenizer.render_chat([asked, called], [_TOOL], answer=False).rpartition(_ASKED)[2]
    except InvalidRequest:
        return None
    if _TOOL["function"]["name"] not in told:
        return None
    return next((form for form in FORMATS if _reads(form, written)), None)


def _reads(form: ToolFormat, written: str) -> bool:
    found = form.begin.search(written)
    if found is None or found.group("name") != "probe_tool":
        return False
    try:
        arguments, _ = json.JSONDecoder().raw_decode(written, found.end())
    except ValueError:
        return False
    return bool(arguments == {"x": "y"})
