"""The tools of a request: what all APIs say about them, each in its own words."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from serving.errors import BadRequest, UnsupportedParameter
from serving.fields import Field, Refused, object_schema, parse_fields, parse_text, wrong_type
from serving.messages import parse_array

MAX_TOOLS = 128
MAX_DEPTH = 64  # of a schema's arrays and objects in each other
MODES = ("none", "auto", "required")
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")


@dataclass(frozen=True, slots=True)
class Tool:
    """``parameters`` is a JSON Schema; ``strict``: it must be followed to the letter, or the request is
    refused. Otherwise what the server does not know in it is passed over."""

    name: str
    description: str | None
    parameters: Mapping[str, Any]
    strict: bool = False


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """``named``: the one tool that must be called. ``mode`` "required": any of them must be."""

    mode: str = "auto"
    named: str | None = None


@dataclass(frozen=True, slots=True)
class ToolUse:
    """What the model is told of, which of it it may call, and how often: ``required`` at least once,
    ``parallel`` more than once."""

    tools: tuple[Tool, ...]
    callable: tuple[Tool, ...]
    required: bool = False
    parallel: bool = True


def make_tool_use(tools: Sequence[Tool], choice: ToolChoice | None, parallel: bool) -> ToolUse | None:
    """None when nothing may be called. Raises BadRequest when the parts do not fit each other."""
    choice = choice or ToolChoice()
    names, param = [tool.name for tool in tools], "tool_choice"
    if twice := {name for name in names if names.count(name) > 1}:
        raise BadRequest(f"'tools' has more than one tool of the name '{min(twice)}'.", param="tools")
    if choice.named is not None and choice.named not in names:
        raise BadRequest(f"'{param}' names '{choice.named}', which is not among the tools.", param=param)
    if choice.mode == "required" and not tools:
        raise BadRequest(f"'{param}' can only require a tool where there are 'tools'.", param=param)
    if choice.mode == "none" or not tools:
        return None
    if choice.named is not None:
        chosen = tuple(tool for tool in tools if tool.name == choice.named)
        return ToolUse(tuple(tools), chosen, required=True, parallel=False)
    return ToolUse(tuple(tools), tuple(tools), choice.mode == "required", parallel)


def tools_field(fields: Mapping[str, Field | Refused], read: Callable[[dict[str, Any]], Tool]) -> Field:
    """Functions that have ``fields``; ``read`` makes a Tool of their values."""

    def parse_tool(value: Any, path: str) -> Tool:
        _check_type(value, fields, path)
        return read(parse_fields(value, fields, frozenset(), at=path))

    def parse(value: Any, path: str) -> tuple[Tool, ...]:
        tools = parse_array(value, path, parse_tool, "tools") if value != [] else ()
        if len(tools) > MAX_TOOLS:
            raise BadRequest(f"'{path}' must hold at most {MAX_TOOLS} tools; not {len(tools)}.", param=path)
        return tools

    schema = {
        "type": "array",
        "items": object_schema(fields),
        "maxItems": MAX_TOOLS,
        "description": "Functions that the model may call; calls follow their schemas.",
    }
    return Field(parse, schema, default=())


def choice_field(fields: Mapping[str, Field | Refused], read: Callable[[dict[str, Any]], str]) -> Field:
    """A word, or the function to call, of which ``read`` finds the name among the values of ``fields``."""

    def parse(value: Any, path: str) -> ToolChoice:
        if isinstance(value, dict):
            _check_type(value, fields, path)
            return ToolChoice(named=read(parse_fields(value, fields, frozenset(), at=path)))
        mode = parse_text(value, path)
        if mode not in MODES:
            raise BadRequest(f"'{path}' must be 'none', 'auto', 'required' or a function.", param=path)
        return ToolChoice(mode)

    schema = {
        "description": "`auto`, `none`, `required`, or the function that must be called.",
        "oneOf": [{"type": "string", "enum": list(MODES)}, object_schema(fields)],
    }
    return Field(parse, schema)


def parse_tool_name(value: Any, path: str) -> str:
    name = parse_text(value, path)
    if not _NAME.fullmatch(name):
        raise BadRequest(
            f"'{path}' must be 1 to 128 letters, digits, underscores or dashes; not '{name[:200]}'.",
            param=path,
        )
    return name


def parse_parameters(value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise wrong_type(path, "a JSON Schema", value)
    if value.get("type", "object") != "object":
        raise BadRequest(
            f"'{path}.type' must be 'object': a tool has named parameters.", param=f"{path}.type"
        )
    if _is_deeper(value, MAX_DEPTH):
        raise BadRequest(f"'{path}' must not be nested deeper than {MAX_DEPTH} levels.", param=path)
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except ValueError:
        raise BadRequest(f"'{path}' holds half a character, or a number without end.", param=path) from None
    return value


def _is_deeper(value: Any, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(levels == 0 or _is_deeper(one, levels - 1) for one in inner)


NAME_FIELD = Field(parse_tool_name, {"type": "string", "pattern": f"^{_NAME.pattern}$"}, required=True)


def _check_type(value: Any, fields: Mapping[str, Field | Refused], path: str) -> None:
    """OpenAI has tools of many types, which are not there rather than wrong."""
    if isinstance(value, dict) and "type" in fields and value.get("type") not in (None, "function"):
        raise UnsupportedParameter(f"{path}.type", "Its tools are functions.")
