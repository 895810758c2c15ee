"""Tools as chats have them: in a request, and in the messages of an assistant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from serving.errors import BadRequest, UnsupportedParameter
from serving.fields import (
    Field,
    Refused,
    boolean,
    object_schema,
    parse_fields,
    parse_text,
    string,
)
from serving.messages import ToolCall, parse_array
from serving.tools.schemas import (
    MAX_TOOLS,
    NAME_FIELD,
    Tool,
    ToolChoice,
    ToolUse,
    make_tool_use,
    parse_parameters,
)


def take_tools(values: Mapping[str, Any]) -> ToolUse | None:
    """Of a body's values. Raises BadRequest."""
    use = make_tool_use(values["tools"], values["tool_choice"], values["parallel_tool_calls"])
    if use is None:
        return None
    for name in ("guided_json", "guided_regex", "guided_choice", "guided_grammar", "min_tokens"):
        if values[name]:
            raise BadRequest(f"'tools' and '{name}' exclude each other.", param=name)
    return use


def _parse_tools(value: Any, path: str) -> tuple[Tool, ...]:
    if value == []:
        return ()
    tools = parse_array(value, path, _parse_tool, "tools")
    if len(tools) > MAX_TOOLS:
        raise BadRequest(f"'{path}' must hold at most {MAX_TOOLS} tools; not {len(tools)}.", param=path)
    return tools


def _parse_tool(value: Any, path: str) -> Tool:
    if isinstance(value, dict) and value.get("type") not in (None, "function"):
        raise UnsupportedParameter(f"{path}.type", "Its tools are functions.")
    function: Tool = parse_fields(value, ONE_TOOL_FIELDS, frozenset(), at=path)["function"]
    return function


def _parse_function(value: Any, path: str) -> Tool:
    return Tool(**parse_fields(value, FUNCTION_FIELDS, frozenset(), at=path))


def _parse_choice(value: Any, path: str) -> ToolChoice:
    if isinstance(value, dict):
        if value.get("type") not in (None, "function"):
            raise UnsupportedParameter(f"{path}.type", "Name a function.")
        return ToolChoice(named=parse_fields(value, CHOICE_FIELDS, frozenset(), at=path)["function"])
    mode = parse_text(value, path)
    if mode not in ("none", "auto", "required"):
        raise BadRequest(f"'{path}' must be 'none', 'auto', 'required' or a function.", param=path)
    return ToolChoice(mode)


def _parse_chosen(value: Any, path: str) -> str:
    name: str = parse_fields(value, {"name": NAME_FIELD}, frozenset(), at=path)["name"]
    return name


def _parse_calls(value: Any, path: str) -> tuple[ToolCall, ...]:
    return () if value == [] else parse_array(value, path, _parse_call, "calls")


def _parse_call(value: Any, path: str) -> ToolCall:
    values = parse_fields(value, CALL_FIELDS, frozenset({"index"}), at=path)
    return ToolCall(values["id"], values["function"]["name"], values["function"]["arguments"] or "{}")


def _parse_called(value: Any, path: str) -> dict[str, Any]:
    return parse_fields(value, CALLED_FIELDS, frozenset(), at=path)


CALLED_FIELDS: dict[str, Field | Refused] = {
    "name": string(required=True),
    "arguments": string("A JSON object.", required=True),
}
CALL_FIELDS: dict[str, Field | Refused] = {
    "id": string(required=True),
    "type": string(choices=("function",)),
    "function": Field(_parse_called, object_schema(CALLED_FIELDS), required=True),
}
CALLS_FIELD = Field(
    _parse_calls,
    {"type": "array", "items": object_schema(CALL_FIELDS), "description": "Of an assistant: its calls."},
    default=(),
)
FUNCTION_FIELDS: dict[str, Field | Refused] = {
    "name": NAME_FIELD,
    "description": string("What it does, for the model."),
    "parameters": Field(
        parse_parameters,
        {"type": "object", "description": "A JSON Schema of an object."},
        default={"type": "object", "properties": {}},
    ),
    "strict": boolean(about="Refuse a schema that cannot be followed to the letter."),
}
ONE_TOOL_FIELDS: dict[str, Field | Refused] = {
    "type": string(required=True, choices=("function",)),
    "function": Field(_parse_function, object_schema(FUNCTION_FIELDS), required=True),
}
CHOICE_FIELDS: dict[str, Field | Refused] = {
    "type": string(required=True, choices=("function",)),
    "function": Field(_parse_chosen, object_schema({"name": NAME_FIELD}), required=True),
}
TOOL_FIELDS: dict[str, Field | Refused] = {
    "tools": Field(
        _parse_tools,
        {
            "type": "array",
            "items": object_schema(ONE_TOOL_FIELDS),
            "maxItems": MAX_TOOLS,
            "description": "Functions that the model may call; calls follow their schemas.",
        },
        default=(),
    ),
    "tool_choice": Field(
        _parse_choice,
        {
            "description": "`auto`, `none`, `required`, or the function that must be called.",
            "oneOf": [
                {"type": "string", "enum": ["none", "auto", "required"]},
                object_schema(CHOICE_FIELDS),
            ],
        },
    ),
    "parallel_tool_calls": boolean(default=True, about="False: at most one call."),
}
