"""What may be asked of /v1/responses: parsed into a ChatRequest and what is to become of its answer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from serving.chat.schemas import ROLES, ChatRequest
from serving.errors import BadRequest, UnsupportedParameter
from serving.fields import (
    Field,
    Refused,
    boolean,
    identifier,
    integer,
    number,
    object_schema,
    parse_fields,
    parse_text,
    string,
    wrong_type,
)
from serving.forms import Form
from serving.messages import Message, parse_array, text_or_parts
from serving.responses.tools import CALL_FIELDS, OUTPUT_FIELDS, TOOL_USE_FIELDS, parse_call, parse_output
from serving.sampling import Sampling
from serving.schemas import MODEL_FIELD
from serving.tools.schemas import Tool, ToolChoice, make_tool_use


@dataclass(frozen=True, slots=True)
class ResponseRequest:
    """``chat`` has the turns of ``input`` only; ``after`` puts them where they belong."""

    chat: ChatRequest
    instructions: str | None
    previous: str | None
    store: bool
    tools: tuple[Tool, ...]
    tool_choice: ToolChoice
    parallel: bool
    metadata: dict[str, str]
    text_format: dict[str, Any]

    def after(self, conversation: tuple[Message, ...]) -> ResponseRequest:
        """With the turns before: the instructions of this request, not those of an earlier one."""
        return replace(self, chat=replace(self.chat, messages=(*conversation, *self.chat.messages)))

    def instructed(self) -> ChatRequest:
        """What the model is to see."""
        first = (Message("system", self.instructions),) if self.instructions else ()
        return replace(self.chat, messages=(*first, *self.chat.messages))


def parse_response_request(body: Any) -> ResponseRequest:
    """Raises BadRequest, which names the field."""
    values = parse_fields(body, RESPONSE_FIELDS, IGNORED)
    text_format, form = values["text"] or ({"type": "text"}, None)
    sampling = Sampling(
        max_tokens=values["max_output_tokens"],
        temperature=values["temperature"],
        top_p=values["top_p"],
        seed=values["seed"],
        form=form,
    )
    tools, choice, parallel = (values[name] for name in TOOL_USE_FIELDS)
    use = make_tool_use(tools, choice, parallel)
    return ResponseRequest(
        ChatRequest(values["model"], values["input"], sampling, stream=values["stream"], tools=use),
        values["instructions"],
        values["previous_response_id"],
        values["store"],
        tools,
        choice or ToolChoice(),
        parallel,
        values["metadata"],
        text_format,
    )


def _parse_input(value: Any, path: str) -> tuple[Message, ...]:
    if isinstance(value, str):
        return (Message("user", parse_text(value, path)),)
    return _turns(parse_array(value, path, _parse_item, "items"))


def _turns(messages: Iterable[Message]) -> tuple[Message, ...]:
    """An assistant's text and the calls after it are what it said at once."""
    turns: list[Message] = []
    for message in messages:
        if message.calls and turns and turns[-1].role == "assistant":
            turns[-1] = replace(turns[-1], calls=turns[-1].calls + message.calls)
        else:
            turns.append(message)
    return tuple(turns)


def _parse_item(value: Any, path: str) -> Message:
    kind = value.get("type", "message") if isinstance(value, dict) else "message"
    match kind:
        case "message":
            return _parse_message(value, path)
        case "function_call":
            return parse_call(value, path)
        case "function_call_output":
            return parse_output(value, path)
        case _:
            raise UnsupportedParameter(f"{path}.type", "It reads messages, calls and their outputs.")


def _parse_message(value: Any, path: str) -> Message:
    values = parse_fields(value, ITEM_FIELDS, frozenset({"id", "status", "phase"}), at=path)
    role = "system" if values["role"] == "developer" else values["role"]
    return Message(role, values["content"])


def _parse_metadata(value: Any, path: str) -> dict[str, str]:
    if not isinstance(value, dict):
        raise wrong_type(path, "an object of strings", value)
    if len(value) > 16:
        raise BadRequest(f"'{path}' must hold at most 16 entries; not {len(value)}.", param=path)
    return {parse_text(name, path): parse_text(text, f"{path}.{name}") for name, text in value.items()}


def _parse_text_config(value: Any, path: str) -> tuple[dict[str, Any], Form | None]:
    """The format as it was sent, for the answer repeats it, and what it means."""
    config = parse_fields(value, TEXT_FIELDS, frozenset(), at=path)
    return config["format"] or ({"type": "text"}, None)


def _parse_format(value: Any, path: str) -> tuple[dict[str, Any], Form | None]:
    values = parse_fields(value, FORMAT_FIELDS, frozenset(), at=path)
    match values["type"]:
        case "text":
            return {"type": "text"}, None
        case "json_object":
            return {"type": "json_object"}, Form("json_object", None, path)
    for name in ("name", "schema"):
        if values[name] is None:
            raise BadRequest(f"Missing required parameter: '{path}.{name}'.", param=f"{path}.{name}")
    return values, Form("json_schema", values["schema"], f"{path}.schema")


def _parse_schema(value: Any, path: str) -> Any:
    if not isinstance(value, dict):
        raise wrong_type(path, "a JSON Schema", value)
    return value


FORMAT_FIELDS: dict[str, Field | Refused] = {
    "type": string(required=True, choices=("text", "json_object", "json_schema")),
    "name": string(),
    "description": string(),
    "schema": Field(_parse_schema, {"type": "object"}),
    "strict": boolean(default=True),
}
TEXT_FIELDS: dict[str, Field | Refused] = {
    "format": Field(_parse_format, {"type": "object"}),
    "verbosity": Refused("Ask for it in the prompt.", ("medium",)),
}
ITEM_FIELDS: dict[str, Field | Refused] = {
    "type": string(choices=("message",)),
    "role": string(required=True, choices=ROLES),
    "content": text_or_parts(
        "The text, or its parts.",
        ("input_text", "output_text"),
        {"input_image", "input_file", "refusal"},
        frozenset({"annotations", "logprobs"}),
    ),
}
ITEMS = (ITEM_FIELDS, CALL_FIELDS, OUTPUT_FIELDS)
IGNORED = frozenset(
    {
        "user",
        "service_tier",
        "safety_identifier",
        "prompt_cache_key",
        "prompt_cache_retention",
        "stream_options",
    }
)
RESPONSE_FIELDS: dict[str, Field | Refused] = {
    "model": MODEL_FIELD,
    "input": Field(
        _parse_input,
        {
            "description": "A text, or messages, calls and their outputs.",
            "oneOf": [
                {"type": "string"},
                {"type": "array", "minItems": 1, "items": {"oneOf": list(map(object_schema, ITEMS))}},
            ],
        },
        required=True,
    ),
    "instructions": string("What the model is told first; not carried over to a next response."),
    "previous_response_id": identifier("Go on with the conversation up to that response's end."),
    "store": boolean(default=True, about="Keep the response for 30 days, to be read or gone on with."),
    "max_output_tokens": integer(
        1, 2**31 - 1, about="Generate at most this many tokens; what is left of the context when left out."
    ),
    "temperature": number(0, 2, 1.0, "0 always takes the likeliest token."),
    "top_p": number(0, 1, 1.0, "Sample from the likeliest tokens that make up this much probability."),
    "seed": integer(-(2**63), 2**63 - 1, about="The same seed and parameters give the same text (ours)."),
    "stream": boolean(about="Answer with server-sent events."),
    "metadata": Field(
        _parse_metadata,
        {"type": "object", "description": "Yours; the response has it.", "maxProperties": 16},
        default={},
    ),
    "text": Field(
        _parse_text_config,
        {"type": "object", "description": "`format`: text, json_object, or json_schema and its `schema`."},
    ),
    **TOOL_USE_FIELDS,
    "max_tool_calls": Refused("It calls no tools itself."),
    "background": Refused("Wait for the answer, or stream it.", (False,)),
    "conversation": Refused("Use previous_response_id."),
    "context_management": Refused("Send what the model should see."),
    "include": Refused("It has nothing to add.", ([],)),
    "prompt": Refused("Send the prompt itself."),
    "reasoning": Refused("Its models do not think aloud.", ({},)),
    "top_logprobs": Refused("Use /v1/chat/completions.", (0,)),
    "truncation": Refused("Send what fits the model's context.", ("disabled",)),
}
