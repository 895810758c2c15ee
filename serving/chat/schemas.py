"""What may be asked of /v1/chat/completions; every API for conversations comes to a ``ChatRequest``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from serving.chat.tools import CALLS_FIELD, TOOL_USE_FIELDS, take_tools
from serving.engine.sampling.params import MAX_LOGPROBS
from serving.errors import BadRequest
from serving.fields import (
    Field,
    Refused,
    boolean,
    integer,
    missing_parameter,
    object_schema,
    parse_boolean,
    parse_fields,
    string,
)
from serving.messages import Message, Tail, parse_array, text_or_parts
from serving.sampling import SAMPLING_FIELDS, Sampling, make_sampling
from serving.schemas import IGNORED, MODEL_FIELD, STREAM_FIELDS, include_usage
from serving.tools.schemas import ToolUse

ROLES = ("system", "developer", "user", "assistant")


@dataclass(frozen=True, slots=True)
class ChatRequest:
    model: str
    messages: tuple[Message, ...]
    sampling: Sampling
    stream: bool = False
    include_usage: bool = False
    tail: Tail = "answer"
    tools: ToolUse | None = None


def parse_chat_request(body: Any) -> ChatRequest:
    """Raises BadRequest, which names the field."""
    values = parse_fields(body, CHAT_FIELDS, IGNORED)
    limits = {values["max_tokens"], values["max_completion_tokens"]} - {None}
    if len(limits) > 1:
        raise BadRequest(
            "'max_tokens' and 'max_completion_tokens' differ; send one of them.", param="max_tokens"
        )
    values["max_tokens"] = limits.pop() if limits else None
    if values["top_logprobs"] is not None and not values["logprobs"]:
        raise BadRequest("'top_logprobs' is only allowed with 'logprobs': true.", param="top_logprobs")
    values["logprobs"] = (values["top_logprobs"] or 0) if values["logprobs"] else None
    return ChatRequest(
        values["model"],
        values["messages"],
        make_sampling(values),
        values["stream"],
        include_usage(values),
        parse_tail(values),
        take_tools(values),
    )


def parse_tail(values: dict[str, Any]) -> Tail:
    """Of vLLM's two switches, of which the first is on unless the second is."""
    answer, go_on = values["add_generation_prompt"], values["continue_final_message"]
    if answer and go_on:
        raise BadRequest(
            "'add_generation_prompt' and 'continue_final_message' exclude each other.",
            param="continue_final_message",
        )
    return "continue" if go_on else "end" if answer is False else "answer"


def _parse_messages(value: Any, path: str) -> tuple[Message, ...]:
    return parse_array(value, path, _parse_message, "messages")


def _parse_message(value: Any, path: str) -> Message:
    values = parse_fields(value, MESSAGE_FIELDS, IGNORED_IN_MESSAGE, at=path)
    role = "system" if values["role"] == "developer" else values["role"]
    calls, call_id = values["tool_calls"], values["tool_call_id"]
    if calls and role != "assistant":
        raise BadRequest(f"'{path}.tool_calls' is for an assistant's messages.", param=f"{path}.tool_calls")
    if call_id is not None and role != "tool":
        raise BadRequest(f"'{path}.tool_call_id' is for a tool's messages.", param=f"{path}.tool_call_id")
    if call_id is None and role == "tool":
        raise missing_parameter(f"{path}.tool_call_id")
    if values["content"] is None and not calls:
        raise missing_parameter(f"{path}.content")
    return Message(role, values["content"] or "", calls, call_id or "")


MESSAGE_FIELDS: dict[str, Field | Refused] = {
    "role": string("Who speaks.", required=True, choices=(*ROLES, "tool")),
    "content": text_or_parts(
        "The text, or its parts.", ("text",), {"image_url", "input_audio", "file"}, required=False
    ),
    "tool_calls": CALLS_FIELD,
    "tool_call_id": string("Of the role tool: which call this answers."),
    "function_call": Refused("Use tool_calls."),
    "audio": Refused("Its models write text."),
}
# Clients send the server's own messages back, with all that was in them.
IGNORED_IN_MESSAGE = frozenset({"name", "refusal", "annotations", "reasoning_content"})

MESSAGES_FIELD = Field(
    _parse_messages,
    {
        "type": "array",
        "minItems": 1,
        "description": "The conversation so far.",
        "items": object_schema(MESSAGE_FIELDS),
    },
    required=True,
)
TAIL_FIELDS: dict[str, Field | Refused] = {
    "add_generation_prompt": Field(
        parse_boolean,
        {"type": "boolean", "description": "End the prompt where the assistant begins (vLLM's)."},
    ),
    "continue_final_message": boolean(about="Go on with the last message instead (vLLM's)."),
}
CHAT_FIELDS: dict[str, Field | Refused] = {
    "model": MODEL_FIELD,
    **SAMPLING_FIELDS,
    **STREAM_FIELDS,
    "messages": MESSAGES_FIELD,
    **TAIL_FIELDS,
    "max_completion_tokens": integer(
        1, 2**31 - 1, about="Generate at most this many tokens; what is left of the context when left out."
    ),
    "max_tokens": integer(1, 2**31 - 1, about="The older name of max_completion_tokens."),
    "logprobs": boolean(about="Tell how likely each token was."),
    "top_logprobs": integer(0, MAX_LOGPROBS, about="And so many of the likeliest ones at its place."),
    "prompt_logprobs": Refused("Use /v1/completions.", (False,)),
    **TOOL_USE_FIELDS,
    "functions": Refused("Use tools.", ([],)),
    "function_call": Refused("Use tool_choice.", ("none", "auto")),
    "modalities": Refused("It writes text.", (["text"],)),
    "audio": Refused("It writes text."),
    "prediction": Refused("Leave it out."),
    "reasoning_effort": Refused("Its models do not think aloud.", ("none",)),
    "verbosity": Refused("Ask for it in the prompt.", ("medium",)),
    "web_search_options": Refused("It does not search the web."),
}
