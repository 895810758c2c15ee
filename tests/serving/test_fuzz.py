"""20,000 mutated bodies against the parsers: out comes a request, or an error that a caller can read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from random import Random
from typing import Any

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from apikeys.errors import ServiceError
from serving.anthropic.schemas import (
    COUNT_FIELDS,
    MESSAGES_FIELDS,
    parse_count_request,
    parse_messages_request,
)
from serving.chat.schemas import CHAT_FIELDS, parse_chat_request
from serving.errors import to_response
from serving.responses.schemas import RESPONSE_FIELDS, parse_response_request
from serving.schemas import (
    COMPLETION_FIELDS,
    parse_completion_request,
    parse_json,
)
from serving.tokens import (
    DETOKENIZE_FIELDS,
    TOKENIZE_FIELDS,
    parse_detokenize_request,
    parse_tokenize_request,
)
from tests.serving.mutations import mutated, scrambled

SEEDS, BODIES_EACH = 200, 50  # of either kind: 20,000 bodies together

SCHEMA = {"type": "object", "properties": {"a": {"enum": ["x", 1]}}, "required": ["a"]}
MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
    {"role": "assistant", "content": "Hello!"},
]
CALL = {"name": "f", "arguments": "{}"}
CALLS = [
    {"role": "assistant", "tool_calls": [{"id": "a", "type": "function", "function": CALL}]},
    {"role": "tool", "tool_call_id": "a", "content": "It is."},
]
TOOL = {"name": "f", "description": "Does it.", "parameters": SCHEMA, "strict": True}
SAMPLING = {
    "model": "m",
    "temperature": 0.5,
    "top_p": 0.9,
    "top_k": 5,
    "n": 2,
    "seed": 7,
    "stop": ["a", "b"],
    "logit_bias": {"1": 5},
    "min_tokens": 0,
    "stream": True,
    "stream_options": {"include_usage": True},
    "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": SCHEMA}},
}
PARSERS: dict[str, tuple[Callable[[Any], object], Mapping[str, object], Any]] = {
    "completions": (
        parse_completion_request,
        COMPLETION_FIELDS,
        {**SAMPLING, "prompt": ["a", [1, 2]], "max_tokens": 5, "logprobs": 2, "echo": True},
    ),
    "chat/completions": (
        parse_chat_request,
        CHAT_FIELDS,
        {
            **SAMPLING,
            "messages": [*MESSAGES, *CALLS],
            "logprobs": True,
            "top_logprobs": 3,
            "tools": [{"type": "function", "function": TOOL}],
            "tool_choice": {"type": "function", "function": {"name": "f"}},
            "parallel_tool_calls": False,
        },
    ),
    "messages": (
        parse_messages_request,
        MESSAGES_FIELDS,
        {
            "model": "m",
            "system": [{"type": "text", "text": "Be brief."}],
            "messages": MESSAGES[1:],
            "max_tokens": 5,
            "stop_sequences": ["a"],
        },
    ),
    "messages/count_tokens": (parse_count_request, COUNT_FIELDS, {"model": "m", "messages": MESSAGES[1:]}),
    "responses": (
        parse_response_request,
        RESPONSE_FIELDS,
        {
            "model": "m",
            "input": [
                {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
                {"type": "function_call", "call_id": "a", **CALL},
                {"type": "function_call_output", "call_id": "a", "output": "It is."},
            ],
            "tools": [{"type": "function", **TOOL}],
            "tool_choice": {"type": "function", "name": "f"},
            "instructions": "Be brief.",
            "metadata": {"a": "b"},
            "text": {"format": {"type": "json_schema", "name": "s", "schema": SCHEMA}},
        },
    ),
    "tokenize": (parse_tokenize_request, TOKENIZE_FIELDS, {"model": "m", "messages": MESSAGES}),
    "detokenize": (parse_detokenize_request, DETOKENIZE_FIELDS, {"model": "m", "tokens": [1, 2]}),
}
seeds = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize("name", PARSERS)
def test_a_good_body_is_parsed(name: str) -> None:
    parse, _, body = PARSERS[name]
    parse(body)


@settings(max_examples=SEEDS, deadline=5000, database=None)
@given(seed=seeds)
def test_a_mutated_body_is_parsed_or_refused(seed: int) -> None:
    random = Random(seed)
    for _ in range(BODIES_EACH):
        parse, fields, body = random.choice(list(PARSERS.values()))
        expect_no_surprise(parse, mutated(body, sorted(fields), random))


@settings(max_examples=SEEDS, deadline=5000, database=None)
@given(seed=seeds)
def test_a_scrambled_body_is_parsed_or_refused(seed: int) -> None:
    random = Random(seed)
    for _ in range(BODIES_EACH):
        parse, _, body = random.choice(list(PARSERS.values()))
        text = scrambled(body, random)
        expect_no_surprise(partial(parse_text, parse), text)


def parse_text(parse: Callable[[Any], object], text: bytes) -> object:
    return parse(parse_json(text))


def expect_no_surprise(parse: Callable[[Any], object], body: Any) -> None:
    """An error must itself be fit to be sent."""
    note(f"{parse} {body}")
    try:
        parse(body)
    except ServiceError as refused:
        error = refused
    else:
        return
    assert error.status == 400
    assert error.message
    assert to_response(error).content
