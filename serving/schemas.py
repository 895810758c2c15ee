"""What may be asked: bodies are parsed here, once, into frozen dataclasses that are valid.

Every field a client may send is in one of the tables below: honoured (a ``Field``), refused by name
(``Refused``), or ignored. Anything else is an error.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

from serving.engine.core import MAX_LOGPROBS
from serving.errors import BadRequest, UnsupportedParameter
from serving.fields import (
    Field,
    Refused,
    boolean,
    integer,
    parse_boolean,
    parse_fields,
    parse_text,
    string,
    wrong_type,
)
from serving.sampling import MAX_CHOICES, SAMPLING_FIELDS, Sampling, make_sampling

MAX_TOKEN_ID = 2**31 - 1
ROLES = ("system", "developer", "user", "assistant")

Prompt = str | tuple[int, ...]
# How a chat's prompt ends: ready for an answer, for more of the last message, or with that message.
Tail = Literal["answer", "continue", "end"]


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    model: str
    prompts: tuple[Prompt, ...]
    sampling: Sampling
    stream: bool = False
    include_usage: bool = False
    echo: bool = False


@dataclass(frozen=True, slots=True)
class Message:
    role: str
    content: str


@dataclass(frozen=True, slots=True)
class ChatRequest:
    model: str
    messages: tuple[Message, ...]
    sampling: Sampling
    stream: bool = False
    include_usage: bool = False
    tail: Tail = "answer"


def parse_json(body: bytes | str) -> Any:
    """JSON as RFC 8259 has it: UTF-8, no NaN. Raises BadRequest."""
    try:
        text = body if isinstance(body, str) else body.decode("utf-8-sig")
        return json.loads(text, parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise BadRequest(f"The body is not valid UTF-8 (byte {error.start}).", code="invalid_utf8") from error
    except json.JSONDecodeError as error:
        at = f"line {error.lineno}, column {error.colno}"
        raise BadRequest(f"The body is not valid JSON: {error.msg} at {at}.", code="invalid_json") from error
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits; 5,000 brackets
        raise BadRequest("The body is not JSON that can be read: too large a number, or too deep.") from error


def parse_completion_request(body: Any) -> CompletionRequest:
    """Raises BadRequest, which names the field."""
    values = parse_fields(body, COMPLETION_FIELDS, IGNORED)
    prompts, n = values["prompt"], values["n"]
    best_of = values["best_of"] = values["best_of"] or n
    if best_of < n:
        raise BadRequest(f"'best_of' must be at least n = {n}; not {best_of}.", param="best_of")
    if len(prompts) * best_of > MAX_CHOICES:
        raise BadRequest(
            f"{len(prompts)} prompts x {best_of} is more than {MAX_CHOICES} choices.",
            param="best_of" if best_of > n else "n",
        )
    if values["stream"] and best_of > n:
        raise BadRequest("'best_of' cannot be had with 'stream': true.", param="best_of")
    if values["stream"] and values["prompt_logprobs"] is not None:
        raise BadRequest("'prompt_logprobs' cannot be had with 'stream': true.", param="prompt_logprobs")
    return CompletionRequest(
        values["model"],
        prompts,
        make_sampling(values),
        values["stream"],
        _include_usage(values),
        values["echo"],
    )


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
        _include_usage(values),
        parse_tail(values),
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


def _include_usage(values: dict[str, Any]) -> bool:
    options = values["stream_options"]
    if options is not None and not values["stream"]:
        raise BadRequest("'stream_options' is only allowed with 'stream': true.", param="stream_options")
    return options is not None and options["include_usage"]


def _refuse_constant(name: str) -> NoReturn:
    raise BadRequest(f"The body is not valid JSON: {name} is not a JSON number.", code="invalid_json")


def _logprobs(about: str) -> Field:
    count = integer(0, MAX_LOGPROBS, about=about)

    def parse(value: Any, path: str) -> int | None:
        return None if value is False else count.parse(value, path)  # some send false for none

    return Field(parse, count.schema)


def _parse_prompt(value: Any, path: str) -> tuple[Prompt, ...]:
    match value:
        case str():
            return (parse_text(value, path),)
        case [int(), *_]:
            return (parse_token_ids(value, path),)
        case [str() | list(), *_]:
            return tuple(_parse_one_prompt(item, f"{path}[{i}]") for i, item in enumerate(value))
        case _:
            raise BadRequest(
                f"'{path}' must be a string, strings, token ids, or lists of token ids, and not empty.",
                param=path,
            )


def _parse_one_prompt(value: Any, path: str) -> Prompt:
    return parse_token_ids(value, path) if isinstance(value, list) else parse_text(value, path)


def parse_token_ids(value: list[Any], path: str) -> tuple[int, ...]:
    if not value:
        raise BadRequest(f"'{path}' must not be empty.", param=path)
    for token in value:
        if type(token) is not int or not 0 <= token <= MAX_TOKEN_ID:
            raise BadRequest(f"'{path}' must hold token ids: integers of 0 and above.", param=path)
    return tuple(value)


def parse_messages(value: Any, path: str) -> tuple[Message, ...]:
    if not isinstance(value, list):
        raise wrong_type(path, "an array of messages", value)
    if not value:
        raise BadRequest(f"'{path}' must hold at least one message.", param=path)
    return tuple(_parse_message(item, f"{path}[{i}]") for i, item in enumerate(value))


def _parse_message(value: Any, path: str) -> Message:
    values = parse_fields(value, MESSAGE_FIELDS, IGNORED_IN_MESSAGE, at=path)
    role = "system" if values["role"] == "developer" else values["role"]
    return Message(role, values["content"])


def _parse_content(value: Any, path: str) -> str:
    if isinstance(value, list):
        return "".join(_parse_part(part, f"{path}[{i}]") for i, part in enumerate(value))
    if not isinstance(value, str):
        raise wrong_type(path, "a string or an array of text parts", value)
    return parse_text(value, path)


def _parse_part(value: Any, path: str) -> str:
    if isinstance(value, dict) and value.get("type") in ("image_url", "input_audio", "file"):
        raise UnsupportedParameter(f"{path}.type", "Its models read text.")
    text: str = parse_fields(value, PART_FIELDS, frozenset(), at=path)["text"]
    return text


def _parse_stream_options(value: Any, path: str) -> dict[str, Any]:
    return parse_fields(value, STREAM_OPTIONS_FIELDS, frozenset({"include_obfuscation"}), at=path)


STREAM_OPTIONS_FIELDS: dict[str, Field | Refused] = {
    "include_usage": boolean(about="Send the token counts in one more chunk at the end."),
}
PART_FIELDS: dict[str, Field | Refused] = {
    "type": string(required=True, choices=("text",)),
    "text": string(required=True),
}
MESSAGE_FIELDS: dict[str, Field | Refused] = {
    "role": string("Who speaks.", required=True, choices=ROLES),
    "content": Field(
        _parse_content,
        {
            "description": "The text, or its parts.",
            "oneOf": [
                {"type": "string"},
                {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {
                            name: field.described()
                            for name, field in PART_FIELDS.items()
                            if isinstance(field, Field)
                        },
                        "required": ["type", "text"],
                    },
                },
            ],
        },
        required=True,
    ),
    "tool_calls": Refused("It has no tools.", ([],)),
    "function_call": Refused("It has no tools."),
    "audio": Refused("Its models write text."),
}
# Clients send the server's own messages back, with all that was in them.
IGNORED_IN_MESSAGE = frozenset({"name", "refusal", "annotations", "reasoning_content"})

# Without effect on the answer, so that leaving them out of account is no lie.
IGNORED = frozenset(
    {
        "user",
        "metadata",
        "store",
        "service_tier",
        "safety_identifier",
        "prompt_cache_key",
        "prompt_cache_retention",
    }
)

MODEL_FIELD = string("The name or an alias of a model: see /v1/models.", required=True)
TAIL_FIELDS: dict[str, Field | Refused] = {
    "add_generation_prompt": Field(
        parse_boolean,
        {"type": "boolean", "description": "End the prompt where the assistant begins (vLLM's)."},
    ),
    "continue_final_message": boolean(about="Go on with the last message instead (vLLM's)."),
}

STREAM_FIELDS: dict[str, Field | Refused] = {
    "stream": boolean(about="Answer with server-sent events, one for each piece of text."),
    "stream_options": Field(
        _parse_stream_options,
        {
            "type": "object",
            "description": "With streaming only.",
            "properties": {"include_usage": {"type": "boolean", "default": False}},
        },
    ),
}

COMPLETION_FIELDS: dict[str, Field | Refused] = {
    "model": MODEL_FIELD,
    **SAMPLING_FIELDS,
    **STREAM_FIELDS,
    "prompt": Field(
        _parse_prompt,
        {
            "description": "A string, strings, token ids, or lists of token ids.",
            "oneOf": [
                {"type": "string"},
                {"type": "array", "items": {"type": "string"}, "minItems": 1},
                {"type": "array", "items": {"type": "integer"}, "minItems": 1},
                {
                    "type": "array",
                    "items": {"type": "array", "items": {"type": "integer"}, "minItems": 1},
                    "minItems": 1,
                },
            ],
        },
        required=True,
    ),
    "max_tokens": integer(1, 2**31 - 1, about="Generate at most this many tokens; 16 when left out."),
    "echo": boolean(about="Put the prompt before the text."),
    "best_of": integer(
        1, MAX_CHOICES, about="Generate so many and answer with the n that the model finds likeliest."
    ),
    "logprobs": _logprobs("How many of the likeliest tokens to tell at each place, with their logprobs."),
    "prompt_logprobs": _logprobs("The same for the prompt (vLLM's). Not with streaming."),
    "suffix": Refused("Its models cannot fill in between.", ("",)),
}

MESSAGES_FIELD = Field(
    parse_messages,
    {
        "type": "array",
        "minItems": 1,
        "description": "The conversation so far.",
        "items": {
            "type": "object",
            "properties": {
                name: field.described() for name, field in MESSAGE_FIELDS.items() if isinstance(field, Field)
            },
            "required": ["role", "content"],
        },
    },
    required=True,
)

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
    "tools": Refused("It has no tools.", ([],)),
    "tool_choice": Refused("It has no tools.", ("none", "auto")),
    "parallel_tool_calls": Refused("It has no tools.", (True, False)),
    "functions": Refused("It has no tools.", ([],)),
    "function_call": Refused("It has no tools.", ("none", "auto")),
    "modalities": Refused("It writes text.", (["text"],)),
    "audio": Refused("It writes text."),
    "prediction": Refused("Leave it out."),
    "reasoning_effort": Refused("Its models do not think aloud.", ("none",)),
    "verbosity": Refused("Ask for it in the prompt.", ("medium",)),
    "web_search_options": Refused("It does not search the web."),
}
