"""The form of an answer that may call tools: text, or calls that follow the tools' schemas."""

from __future__ import annotations

import json
import re

from serving.forms import Form
from serving.tools.dialects import Dialect
from serving.tools.schemas import Tool, ToolUse

MAX_CALLS = 16  # of one answer: a small model might never stop
_TEXT = r"(.|\n)*"
_TEXT_BEFORE_NO_CALL = r"([ \t\n]*[^{ \t\n](.|\n)*)?"  # where a call need not be marked
_ANY_OBJECT = {"type": "object"}
_COMPACT = {"whitespace_flexible": False, "item_separator": "[ ]?,[ ]?", "key_separator": "[ ]?:[ ]?"}


def calls_form(use: ToolUse, dialect: Dialect, form: Form | None = None) -> Form:
    """``form``: what the answer must be where it does not call, JSON."""
    written = dialect.format
    marker, opening = _spell(dialect, written.marker), _spell(dialect, written.opening)
    names = " | ".join(f"tool_{i}" for i in range(len(use.callable)))
    more = f"({_spell(dialect, written.between)} call){{0,{MAX_CALLS - 1}}}" if use.parallel else ""
    rules = [
        f"start: {_start(use, dialect, marker, form)}",
        f"calls: {opening} call {more} {_spell(dialect, written.closing)}",
        f"call: {names}",
        *(_tool(tool, i, dialect) for i, tool in enumerate(use.callable)),
    ]
    if not use.required:
        rules += _text_rules(dialect, form)
    return Form("tools", "\n".join(rules), "tools")


def _start(use: ToolUse, dialect: Dialect, marker: str, form: Form | None) -> str:
    if dialect.format.is_bare:
        marker = f"({marker})?" if dialect.tokens else ""
        return f"{marker} calls" if use.required else f"text | {marker} calls"
    if use.required:
        return f"{marker} calls"
    if form is not None:
        return f"text | {marker} calls"
    return f"text | text {marker} calls" if dialect.format.marker in dialect.tokens else "text | marked calls"


def _text_rules(dialect: Dialect, form: Form | None) -> list[str]:
    if form is not None:
        return [f"text: %json {json.dumps(form.source if form.kind == 'json_schema' else _ANY_OBJECT)}"]
    text = _TEXT_BEFORE_NO_CALL if dialect.format.is_bare else _TEXT
    marked = f"marked[lazy]: /{_TEXT}{re.escape(dialect.format.marker)}/"
    needed = not dialect.format.is_bare and dialect.format.marker not in dialect.tokens
    return [f"text: TEXT\nTEXT: /{text}/", *([marked] if needed else [])]


def _tool(tool: Tool, number: int, dialect: Dialect) -> str:
    written = dialect.format
    # The bracket by itself: what comes after it may turn out to be other JSON.
    bracket, head, rest = written.before_name.rpartition("{")
    before = (
        f"{_spell(dialect, bracket + head)} {_spell(dialect, rest + tool.name + written.before_arguments)}"
    )
    guidance = {**_COMPACT, "lenient": not tool.strict}
    schema = {**_ANY_OBJECT, **tool.parameters, "x-guidance": guidance}
    called = f"tool_{number}: {before} args_{number} {_spell(dialect, written.after)}"
    return f"{called}\nargs_{number}: %json {json.dumps(schema)}"


def _spell(dialect: Dialect, text: str) -> str:
    """``text`` as Lark has it: tokens by their ids, the rest as strings."""
    parts = dialect.split(text)
    return " ".join(f"<[{part}]>" if isinstance(part, int) else json.dumps(part) for part in parts)
