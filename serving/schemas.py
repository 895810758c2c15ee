"""What may be asked of /v1/completions, and what all bodies have: they are parsed once, into frozen
dataclasses that are valid.

Every field a client may send is in one of the tables below: honoured (a ``Field``), refused by name
(``Refused``), or ignored. Anything else is an error.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, NoReturn

from serving.engine.sampling.params import MAX_LOGPROBS
from serving.errors import BadRequest
from serving.fields import (
    Field,
    Refused,
    boolean,
    integer,
    parse_fields,
    parse_text,
    string,
)
from serving.sampling import MAX_CHOICES, SAMPLING_FIELDS, Sampling, make_sampling

MAX_TOKEN_ID = 2**31 - 1

Prompt = str | tuple[int, ...]


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    model: str
    prompts: tuple[Prompt, ...]
    sampling: Sampling
    stream: bool = False
    include_usage: bool = False
    echo: bool = False


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
        include_usage(values),
        values["echo"],
    )


def include_usage(values: dict[str, Any]) -> bool:
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


def _parse_stream_options(value: Any, path: str) -> dict[str, Any]:
    return parse_fields(value, STREAM_OPTIONS_FIELDS, frozenset({"include_obfuscation"}), at=path)


STREAM_OPTIONS_FIELDS: dict[str, Field | Refused] = {
    "include_usage": boolean(about="Send the token counts in one more chunk at the end."),
}
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

PROMPT_FIELD = Field(
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
)

COMPLETION_FIELDS: dict[str, Field | Refused] = {
    "model": MODEL_FIELD,
    **SAMPLING_FIELDS,
    **STREAM_FIELDS,
    "prompt": PROMPT_FIELD,
    "max_tokens": integer(1, 2**31 - 1, about="Generate at most this many tokens; 16 when left out."),
    "echo": boolean(about="Put the prompt before the text."),
    "best_of": integer(
        1, MAX_CHOICES, about="Generate so many and answer with the n that the model finds likeliest."
    ),
    "logprobs": _logprobs("How many of the likeliest tokens to tell at each place, with their logprobs."),
    "prompt_logprobs": _logprobs("The same for the prompt (vLLM's). Not with streaming."),
    "suffix": Refused("Its models cannot fill in between.", ("",)),
}
