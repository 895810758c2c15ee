from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.chat.schemas import CHAT_FIELDS
from serving.errors import BadRequest
from serving.fields import Field, Refused
from serving.schemas import (
    COMPLETION_FIELDS,
    IGNORED,
    parse_completion_request,
    parse_json,
)
from tests.serving.bodies import json_values, refused_param

COMPLETION = {"model": "m", "prompt": "hi"}


def refusal(body: Any) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        parse_completion_request(body)
    return caught.value


@pytest.mark.parametrize(
    ("prompt", "parsed"),
    [
        ("a", ("a",)),
        (["a", "b"], ("a", "b")),
        ([1, 2], ((1, 2),)),
        ([[1, 2], [3]], ((1, 2), (3,))),
        ("", ("",)),
    ],
)
def test_a_prompt_is_a_string_strings_token_ids_or_lists_of_them(prompt: Any, parsed: Any) -> None:
    assert parse_completion_request({**COMPLETION, "prompt": prompt}).prompts == parsed


def test_what_is_left_out_has_openais_defaults() -> None:
    request = parse_completion_request(COMPLETION)
    assert request.sampling.temperature == 1
    assert request.sampling.top_p == 1
    assert request.sampling.n == 1
    assert request.sampling.max_tokens is None
    assert request.sampling.stop == ()
    assert not request.stream


def test_null_is_the_same_as_leaving_a_field_out() -> None:
    nulls = {name: None for name in COMPLETION_FIELDS if name not in COMPLETION}
    assert parse_completion_request({**COMPLETION, **nulls}) == parse_completion_request(COMPLETION)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", 5),
        ("prompt", None),
        ("prompt", []),
        ("prompt", {}),
        ("prompt", [1.5]),
        ("prompt", [True]),
        ("prompt", [-1]),
        ("prompt", "\ud800"),
        ("max_tokens", 0),
        ("max_tokens", -1),
        ("max_tokens", "1"),
        ("max_tokens", True),
        ("max_tokens", 1.0),
        ("max_tokens", 2**31),
        ("temperature", -0.1),
        ("temperature", 2.1),
        ("temperature", "0"),
        ("temperature", False),
        ("top_p", 1.1),
        ("top_k", -2),
        ("n", 0),
        ("n", 129),
        ("seed", 2**63),
        ("stop", 1),
        ("stop", ["a"] * 5),
        ("stop", ""),
        ("stream", "true"),
        ("stream", 1),
        ("stream_options", {"include_usage": True}),
        ("echo", 0),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_field(field: str, value: Any) -> None:
    error = refusal({**COMPLETION, field: value})
    assert error.param == field
    assert field in error.message


@pytest.mark.parametrize("body", [None, [], "x", 1, True])
def test_a_body_must_be_an_object(body: Any) -> None:
    assert "object" in refusal(body).message


def test_an_unknown_field_is_refused_by_name() -> None:
    error = refusal({**COMPLETION, "temprature": 1})
    assert (error.param, error.code) == ("temprature", "unknown_parameter")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("suffix", "x"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(field: str, value: Any) -> None:
    error = refusal({**COMPLETION, field: value})
    assert (error.param, error.code) == (field, "unsupported_parameter")


def test_defaults_that_clients_send_along_are_accepted() -> None:
    asked: dict[str, Any] = {
        "presence_penalty": 0,
        "frequency_penalty": 0.0,
        "logprobs": None,
        "best_of": 1,
        "logit_bias": {},
        "user": "someone",
        "min_p": 0.0,
        "repetition_penalty": 1.0,
    }
    assert parse_completion_request({**COMPLETION, **asked}) == parse_completion_request(COMPLETION)


def test_one_stop_string_is_a_list_of_one() -> None:
    assert parse_completion_request({**COMPLETION, "stop": "a"}).sampling.stop == ("a",)


def test_prompts_times_n_is_bounded() -> None:
    assert refusal({**COMPLETION, "prompt": ["a"] * 65, "n": 2}).param == "n"


def test_answers_to_one_prompt_have_seeds_of_their_own() -> None:
    sampling = parse_completion_request({**COMPLETION, "seed": -1, "n": 2}).sampling
    assert sampling.params(1, 0).seed == 2**64 - 1
    assert sampling.params(1, 1).seed == 0


def test_a_field_is_in_one_table_only() -> None:
    for fields in (COMPLETION_FIELDS, CHAT_FIELDS):
        assert not IGNORED & set(fields)
        assert all(isinstance(field, Field | Refused) for field in fields.values())


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":',
        b"",
        b"\xff",
        b"[" * 100_000,
        b'{"seed":' + b"9" * 6000 + b"}",
        b'{"t": NaN}',
        b'{"t": Infinity}',
    ],
)
def test_what_is_no_json_is_a_bad_request(body: bytes) -> None:
    with pytest.raises(BadRequest):
        parse_json(body)


@given(field=st.sampled_from(sorted(COMPLETION_FIELDS)), value=json_values)
def test_no_value_of_a_completion_breaks_the_parser(field: str, value: Any) -> None:
    param = refused_param(parse_completion_request, {**COMPLETION, field: value})
    assert param is None or param.startswith(field)
