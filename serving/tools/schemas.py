"""The tools of a request: what all APIs say about them, each in its own words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from serving.errors import BadRequest
from serving.fields import Field, parse_text, wrong_type

MAX_TOOLS = 128
MAX_DEPTH = 64  # of a schema's arrays and objects in each other
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
    return value


def _is_deeper(value: Any, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(levels == 0 or _is_deeper(one, levels - 1) for one in inner)


NAME_FIELD = Field(parse_tool_name, {"type": "string", "pattern": f"^{_NAME.pattern}$"}, required=True)
