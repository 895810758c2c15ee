"""How models write calls of tools. Each format is told once, as the strings around a call's name and
arguments: the grammar that makes a model write it and the patterns that read it are made of these."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

import regex

_SPACE = r"[ \t\n]{0,4}"
_NAME = r"(?P<name>[\w.-]{1,128})"
_ID = rf'(?:,{_SPACE}"id"{_SPACE}:{_SPACE}"[\w-]*"{_SPACE})?'  # some templates write one after the arguments
_PARTS = re.compile(r'"\w+"|</?\|?\w+\|?>|\[[A-Z_]+\]|\S')


@dataclass(frozen=True)
class ToolFormat:
    """One or more calls: ``marker opening call (between call)* closing``, each of them ``before_name`` name
    ``before_arguments`` arguments ``after``.

    Text may stand before the ``marker``; where an answer ``is_bare`` it is text or calls from its beginning,
    and may do without the marker. ``tokens``: which of these strings may be tokens of their own, and special.
    """

    name: str
    marker: str
    opening: str
    before_name: str
    before_arguments: str
    after: str
    between: str
    closing: str
    tokens: frozenset[str]
    is_bare: bool = False

    @cached_property
    def begin(self) -> regex.Pattern[str]:
        """From text to the arguments of the first call, which are not part of it."""
        marker = f"(?:{_pattern(self.marker)})?" if self.is_bare else _pattern(self.marker)
        return regex.compile(rf"{_SPACE}{marker}{_pattern(self.opening)}{self._head}")

    @cached_property
    def go_on(self) -> regex.Pattern[str]:
        """From the end of the arguments to those of the next call, which has a ``name``, or to the end."""
        after = _ID + _pattern(self.after) if self.after else ""
        ways = [_pattern(self.between) + self._head, *([_pattern(self.closing)] if self.closing else [])]
        return regex.compile(rf"{_SPACE}{after}(?:{'|'.join(ways)})")

    @property
    def _head(self) -> str:
        return rf"{_pattern(self.before_name)}{_NAME}{_pattern(self.before_arguments)}(?=\{{)"


def _pattern(text: str) -> str:
    """That of ``text``, with any space between its parts."""
    return "".join(re.escape(part) + ("" if part == '"' else _SPACE) for part in _PARTS.findall(text))


# Qwen 2.5 and 3, Hermes, and whoever is told of it in words.
HERMES = ToolFormat(
    name="hermes",
    marker="<tool_call>",
    opening="\n",
    before_name='{"name": "',
    before_arguments='", "arguments": ',
    after="}",
    between="\n</tool_call>\n<tool_call>\n",
    closing="\n</tool_call>",
    tokens=frozenset({"<tool_call>", "</tool_call>"}),
)
MISTRAL = ToolFormat(
    name="mistral",
    marker="[TOOL_CALLS]",
    opening=" [",
    before_name='{"name": "',
    before_arguments='", "arguments": ',
    after="}",
    between=", ",
    closing="]",
    tokens=frozenset({"[TOOL_CALLS]"}),
)
# Mistral's since Small 3.2.
MISTRAL_ARGS = ToolFormat(
    name="mistral-args",
    marker="[TOOL_CALLS]",
    opening="",
    before_name="",
    before_arguments="[ARGS]",
    after="",
    between="[TOOL_CALLS]",
    closing="",
    tokens=frozenset({"[TOOL_CALLS]", "[ARGS]"}),
)
# Llama 3.1 and 3.2.
LLAMA = ToolFormat(
    name="llama",
    marker="<|python_tag|>",
    opening="",
    before_name='{"name": "',
    before_arguments='", "parameters": ',
    after="}",
    between="; ",
    closing="",
    tokens=frozenset({"<|python_tag|>"}),
    is_bare=True,
)
FORMATS = (HERMES, MISTRAL, MISTRAL_ARGS, LLAMA)
