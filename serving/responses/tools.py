"""Tools as /v1/responses has them: a chat's, but flat, and calls that are items of their own."""

from __future__ import annotations

from operator import itemgetter
from typing import Any

from serving.answers import Json
from serving.chat.tools import FUNCTION_FIELDS, PARALLEL_FIELD
from serving.fields import Field, Refused, parse_fields, string
from serving.messages import Message, ToolCall, text_or_parts
from serving.tools.schemas import NAME_FIELD, Tool, ToolChoice, choice_field, tools_field


def describe_tool(tool: Tool) -> Json:
    """As a response repeats it."""
    return {
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
        "strict": tool.strict,
    }


def describe_choice(choice: ToolChoice) -> str | Json:
    return choice.mode if choice.named is None else {"type": "function", "name": choice.named}


def parse_call(value: Any, path: str) -> Message:
    values = parse_fields(value, CALL_FIELDS, IGNORED_IN_CALL, at=path)
    call = ToolCall(values["call_id"], values["name"], values["arguments"] or "{}")
    return Message("assistant", "", (call,))


def parse_output(value: Any, path: str) -> Message:
    values = parse_fields(value, OUTPUT_FIELDS, IGNORED_IN_CALL, at=path)
    return Message("tool", values["output"], call_id=values["call_id"])


def _tool_of(values: dict[str, Any]) -> Tool:
    return Tool(**{name: values[name] for name in FUNCTION_FIELDS})


IGNORED_IN_CALL = frozenset({"id", "status"})
CALL_FIELDS: dict[str, Field | Refused] = {
    "type": string(required=True, choices=("function_call",)),
    "call_id": string("Which `function_call_output` answers it.", required=True),
    "name": string(required=True),
    "arguments": string("A JSON object.", required=True),
}
OUTPUT_FIELDS: dict[str, Field | Refused] = {
    "type": string(required=True, choices=("function_call_output",)),
    "call_id": string("Of the call that this answers.", required=True),
    "output": text_or_parts("What came of it.", ("input_text",), {"input_image", "input_file"}),
}
TOOL_FIELDS: dict[str, Field | Refused] = {
    "type": string(required=True, choices=("function",)),
    **FUNCTION_FIELDS,
}
CHOICE_FIELDS: dict[str, Field | Refused] = {
    "type": string(required=True, choices=("function",)),
    "name": NAME_FIELD,
}
TOOL_USE_FIELDS: dict[str, Field | Refused] = {
    "tools": tools_field(TOOL_FIELDS, _tool_of),
    "tool_choice": choice_field(CHOICE_FIELDS, itemgetter("name")),
    "parallel_tool_calls": PARALLEL_FIELD,
}
