from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import BadRequest
from serving.fields import Field, Refused
from serving.schemas import (
    CHAT_FIELDS,
    COMPLETION_FIELDS,
    IGNORED,
    Message,
    parse_chat_request,
    parse_completion_request,
    parse_json,
)

COMPLETION = {"model": "m", "prompt": "hi"}
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def refusal(body: Any) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        parse_completion_request(body)
    return caught.value


def chat_refusal(**changes: Any) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        parse_chat_request({**CHAT, **changes})
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


def test_an_unknown_field_in_a_message_is_refused_by_its_path() -> None:
    error = chat_refusal(
        messages=[{"role": "user", "content": "a"}, {"role": "user", "content": "b", "x": 1}]
    )
    assert error.param == "messages[1].x"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("guided_grammar", "x"),
        ("suffix", "x"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(field: str, value: Any) -> None:
    error = refusal({**COMPLETION, field: value})
    assert (error.param, error.code) == (field, "unsupported_parameter")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tools", [{"type": "function", "function": {"name": "f"}}]),
        ("tool_choice", "required"),
        ("reasoning_effort", "high"),
    ],
)
def test_what_a_chat_cannot_honour_is_refused_by_name(field: str, value: Any) -> None:
    error = chat_refusal(**{field: value})
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
    chat = {"logprobs": False, "response_format": {"type": "text"}, "tools": [], "metadata": {"a": "b"}}
    assert parse_chat_request({**CHAT, **chat}) == parse_chat_request(CHAT)


def test_one_stop_string_is_a_list_of_one() -> None:
    assert parse_completion_request({**COMPLETION, "stop": "a"}).sampling.stop == ("a",)


def test_prompts_times_n_is_bounded() -> None:
    assert refusal({**COMPLETION, "prompt": ["a"] * 65, "n": 2}).param == "n"


def test_text_parts_of_a_message_are_put_together() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    request = parse_chat_request({**CHAT, "messages": [{"role": "user", "content": parts}]})
    assert request.messages == (Message("user", "ab"),)


def test_a_developer_message_is_a_system_message() -> None:
    request = parse_chat_request({**CHAT, "messages": [{"role": "developer", "content": "a"}]})
    assert request.messages == (Message("system", "a"),)


def test_a_message_of_this_server_may_be_sent_back() -> None:
    own: Any = {"role": "assistant", "content": "a", "refusal": None, "annotations": [], "tool_calls": None}
    assert parse_chat_request({**CHAT, "messages": [own]}).messages == (Message("assistant", "a"),)


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ("hi", "messages[0]"),
        ({"content": "a"}, "messages[0].role"),
        ({"role": "robot", "content": "a"}, "messages[0].role"),
        ({"role": "user"}, "messages[0].content"),
        ({"role": "user", "content": 1}, "messages[0].content"),
        ({"role": "user", "content": ["a"]}, "messages[0].content[0]"),
        ({"role": "user", "content": [{"type": "text"}]}, "messages[0].content[0].text"),
        ({"role": "user", "content": [{"type": "image_url"}]}, "messages[0].content[0].type"),
    ],
)
def test_a_wrong_message_is_refused_by_its_path(message: Any, param: str) -> None:
    assert chat_refusal(messages=[message]).param == param


def test_a_chat_needs_a_message() -> None:
    assert chat_refusal(messages=[]).param == "messages"


def test_max_completion_tokens_and_max_tokens_are_one_thing() -> None:
    assert parse_chat_request({**CHAT, "max_tokens": 5}).sampling.max_tokens == 5
    assert parse_chat_request({**CHAT, "max_completion_tokens": 5}).sampling.max_tokens == 5
    assert chat_refusal(max_tokens=5, max_completion_tokens=6).param == "max_tokens"


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


def refused_param(parse: Callable[[Any], object], body: Any) -> str | None:
    """The field that is to blame; None when the body is accepted."""
    try:
        parse(body)
    except BadRequest as error:
        return error.param or "nothing"
    return None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@given(field=st.sampled_from(sorted(COMPLETION_FIELDS)), value=json_values)
def test_no_value_of_a_completion_breaks_the_parser(field: str, value: Any) -> None:
    param = refused_param(parse_completion_request, {**COMPLETION, field: value})
    assert param is None or param.startswith(field)


@given(field=st.sampled_from(sorted(CHAT_FIELDS)), value=json_values)
def test_no_value_of_a_chat_breaks_the_parser(field: str, value: Any) -> None:
    param = refused_param(parse_chat_request, {**CHAT, field: value})
    assert param is None or param.startswith(field)
