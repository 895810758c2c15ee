"""What may be asked of /v1/messages: parsed into the same ChatRequest as OpenAI's chats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from serving.chat.schemas import ChatRequest
from serving.errors import BadRequest
from serving.fields import (
    Field,
    Refused,
    boolean,
    integer,
    number,
    object_schema,
    parse_fields,
    parse_text,
    string,
    wrong_type,
)
from serving.messages import Message, Tail, parse_array, text_or_parts
from serving.sampling import Sampling
from serving.schemas import MODEL_FIELD

MAX_STOPS = 64
NO_TOOLS = "It has no tools on this endpoint; /v1/chat/completions may."


@dataclass(frozen=True, slots=True)
class CountRequest:
    """What /v1/messages/count_tokens takes."""

    model: str
    messages: tuple[Message, ...]
    tail: Tail


def parse_messages_request(body: Any) -> ChatRequest:
    """Raises BadRequest, which names the field."""
    values = parse_fields(body, MESSAGES_FIELDS, IGNORED)
    messages, tail = _conversation(values)
    sampling = Sampling(
        max_tokens=values["max_tokens"],
        temperature=values["temperature"],
        top_p=values["top_p"],
        top_k=values["top_k"],
        stop=values["stop_sequences"],
        seed=values["seed"],
    )
    return ChatRequest(values["model"], messages, sampling, stream=values["stream"], tail=tail)


def parse_count_request(body: Any) -> CountRequest:
    """Raises BadRequest, which names the field."""
    values = parse_fields(body, COUNT_FIELDS, IGNORED)
    return CountRequest(values["model"], *_conversation(values))


def _conversation(values: dict[str, Any]) -> tuple[tuple[Message, ...], Tail]:
    """The turns in order; an assistant's at the end is the beginning of the answer."""
    turns: list[Message] = [Message("system", values["system"])] if values["system"] else []
    for message in values["messages"]:
        if turns and turns[-1].role == message.role:  # Anthropic joins turns of one speaker
            message = Message(message.role, f"{turns.pop().content}\n\n{message.content}")
        turns.append(message)
    return tuple(turns), "continue" if turns[-1].role == "assistant" else "answer"


def _parse_messages(value: Any, path: str) -> tuple[Message, ...]:
    return parse_array(value, path, _parse_message, "messages")


def _parse_message(value: Any, path: str) -> Message:
    return Message(**parse_fields(value, MESSAGE_FIELDS, frozenset(), at=path))


def _text(about: str, *, required: bool = True) -> Field:
    return text_or_parts(about, ("text",), OTHER_BLOCKS, IGNORED_IN_BLOCK, required=required)


def _parse_stops(value: Any, path: str) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise wrong_type(path, "an array of strings", value)
    if len(value) > MAX_STOPS:
        raise BadRequest(f"'{path}' must hold at most {MAX_STOPS} strings; not {len(value)}.", param=path)
    stops = tuple(parse_text(item, f"{path}[{i}]") for i, item in enumerate(value))
    if not all(stop.strip() for stop in stops):
        raise BadRequest(f"'{path}' must not hold an empty or blank string.", param=path)
    return stops


OTHER_BLOCKS = frozenset({"image", "document", "tool_use", "tool_result", "thinking", "search_result"})
IGNORED_IN_BLOCK = frozenset({"cache_control", "citations"})
MESSAGE_FIELDS: dict[str, Field | Refused] = {
    "role": string("Who speaks.", required=True, choices=("user", "assistant")),
    "content": _text("The text, or its blocks."),
}

# Without effect on the answer, so that leaving them out of account is no lie.
IGNORED = frozenset(
    {
        "metadata",
        "service_tier",
        "cache_control",
        "diagnostics",
        "inference_geo",
        "speed",
        "user_profile_id",
        "workspace_id",
    }
)

COUNT_FIELDS: dict[str, Field | Refused] = {
    "model": MODEL_FIELD,
    "messages": Field(
        _parse_messages,
        {
            "type": "array",
            "minItems": 1,
            "description": "The conversation so far; an assistant's message at its end is gone on with.",
            "items": object_schema(MESSAGE_FIELDS),
        },
        required=True,
    ),
    "system": _text("What the model is told first.", required=False),
    "tools": Refused(NO_TOOLS, ([],)),
    "tool_choice": Refused(NO_TOOLS, ({"type": "none"}, {"type": "auto"})),
    "thinking": Refused("Its models do not think aloud.", ({"type": "disabled"},)),
    "output_config": Refused("Ask for the form of the answer in the prompt.", ({},)),
    "mcp_servers": Refused("It has no tools.", ([],)),
    "context_management": Refused("Send what the model should see."),
}

MESSAGES_FIELDS: dict[str, Field | Refused] = {
    **COUNT_FIELDS,
    "max_tokens": Field(
        integer(1, 2**31 - 1).parse,
        {"type": "integer", "minimum": 1, "description": "Generate at most this many tokens."},
        required=True,
    ),
    "temperature": number(0, 1, 1.0, "0 always takes the likeliest token."),
    "top_p": number(0, 1, 1.0, "Sample from the likeliest tokens that make up this much probability."),
    "top_k": integer(-1, 2**31 - 1, 0, "Sample from this many tokens; 0 or -1 is off."),
    "stop_sequences": Field(
        _parse_stops,
        {
            "type": "array",
            "items": {"type": "string"},
            "maxItems": MAX_STOPS,
            "description": "Strings that end the text; they are not part of it.",
        },
        default=(),
    ),
    "stream": boolean(about="Answer with server-sent events."),
    "seed": integer(-(2**63), 2**63 - 1, about="The same seed and parameters give the same text (ours)."),
    "container": Refused("It runs no code."),
}
