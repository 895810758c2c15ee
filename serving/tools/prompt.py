"""A conversation with tools as the chat template takes it."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from serving.errors import BadRequest
from serving.messages import Message, ToolCall
from serving.tools.formats import HERMES, MISTRAL, MISTRAL_ARGS, ToolFormat
from serving.tools.schemas import Tool

Chat = list[dict[str, Any]]

_INSTRUCTIONS = """\
# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
{tools}
</tools>

For each function call, return a json object with function name and arguments within \
<tool_call></tool_call> XML tags:
<tool_call>
{{"name": <function-name>, "arguments": <args-json-object>}}
</tool_call>"""


def names_of_calls(messages: Iterable[Message]) -> dict[str, str]:
    """By their ids. Raises BadRequest for an answer to a call that was not made before."""
    names: dict[str, str] = {}
    for message in messages:
        if message.role == "tool" and message.call_id not in names:
            raise BadRequest(f"No message before it makes the call '{message.call_id}'.", param="messages")
        names |= {call.id: call.name for call in message.calls}
    return names


def in_template(messages: Iterable[Message], names: Mapping[str, str], form: ToolFormat) -> Chat:
    """For a template that knows tools; ``names`` are those of the calls."""
    id_of = _short if form in (MISTRAL, MISTRAL_ARGS) else str
    chat: Chat = []
    for message in messages:
        turn: dict[str, Any] = {"role": message.role, "content": message.content}
        if message.calls:
            turn["tool_calls"] = [_template_call(call, id_of(call.id)) for call in message.calls]
        if message.role == "tool":
            turn |= {"name": names[message.call_id], "tool_call_id": id_of(message.call_id)}
        chat.append(turn)
    return chat


def in_words(messages: Iterable[Message], tools: Iterable[Mapping[str, Any]]) -> Chat:
    """For a template that knows none: told in the system's message, called in the assistant's, answered in
    the user's, as Hermes has it."""
    chat: Chat = []
    for is_answer, turns in itertools.groupby(messages, key=lambda message: message.role == "tool"):
        if is_answer:
            answers = "\n".join(f"<tool_response>\n{turn.content}\n</tool_response>" for turn in turns)
            chat.append({"role": "user", "content": answers})
        else:
            chat += [{"role": turn.role, "content": _with_calls(turn)} for turn in turns]
    if told := "\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools):
        _instruct(chat, _INSTRUCTIONS.format(tools=told))
    return chat


def _instruct(chat: Chat, instructions: str) -> None:
    if chat[0]["role"] == "system":
        chat[0]["content"] += f"\n\n{instructions}"
    else:
        chat.insert(0, {"role": "system", "content": instructions})


def template_tool(tool: Tool) -> dict[str, Any]:
    """In the shape of OpenAI, which templates take."""
    described = {} if tool.description is None else {"description": tool.description}
    function = {"name": tool.name, **described, "parameters": dict(tool.parameters)}
    return {"type": "function", "function": function}


def _template_call(call: ToolCall, call_id: str) -> dict[str, Any]:
    """With the arguments as an object, where they are one: that is what templates write as JSON."""
    try:
        arguments = json.loads(call.arguments)
    except (ValueError, RecursionError):
        arguments = None
    made = {"name": call.name, "arguments": arguments if isinstance(arguments, dict) else call.arguments}
    return {"id": call_id, "type": "function", "function": made}


def _short(call_id: str) -> str:
    """Mistral's templates refuse ids that are not nine letters and digits."""
    return re.sub("[^a-zA-Z0-9]", "", call_id)[-9:].rjust(9, "0")


def _with_calls(message: Message) -> str:
    if not message.calls:
        return message.content
    calls = [
        f'{HERMES.marker}\n{{"name": {json.dumps(call.name)}, "arguments": {call.arguments}}}\n</tool_call>'
        for call in message.calls
    ]
    return "\n".join([message.content, *calls] if message.content else calls)
