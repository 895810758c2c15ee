"""Tools as chats have them: in a request, and in the messages of an assistant."""

from __future__ import annotations

from collections.abc import Mapping
from operator import itemgetter
from typing import Any

from serving.errors import BadRequest
from serving.fields import Field, Refused, boolean, object_schema, parse_fields, string
from serving.messages import ToolCall, parse_array
from serving.tools.schemas import (
    NAME_FIELD,
    Tool,
    ToolUse,
    choice_field,
    make_tool_use,
    parse_parameters,
    tools_field,
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


def _parse_function(value: Any, path: str) -> Tool:
    return Tool(**parse_fields(value, FUNCTION_FIELDS, frozenset(), at=path))


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
PARALLEL_FIELD = boolean(default=True, about="False: at most one call.")
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
TOOL_FIELDS: dict[str, Field | Refused] = {
    "type": string(required=True, choices=("function",)),
    "function": Field(_parse_function, object_schema(FUNCTION_FIELDS), required=True),
}
CHOICE_FIELDS: dict[str, Field | Refused] = {
    "type": string(required=True, choices=("function",)),
    "function": Field(_parse_chosen, object_schema({"name": NAME_FIELD}), required=True),
}
TOOLS_FIELD = tools_field(TOOL_FIELDS, itemgetter("function"))
TOOL_USE_FIELDS: dict[str, Field | Refused] = {
    "tools": TOOLS_FIELD,
    "tool_choice": choice_field(CHOICE_FIELDS, itemgetter("function")),
    "parallel_tool_calls": PARALLEL_FIELD,
}
