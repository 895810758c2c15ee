from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.chat.schemas import CHAT_FIELDS, parse_chat_request
from serving.errors import BadRequest
from serving.messages import Message
from tests.serving.bodies import json_values, refused_param

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def chat_refusal(**changes: Any) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        parse_chat_request({**CHAT, **changes})
    return caught.value


def test_an_unknown_field_in_a_message_is_refused_by_its_path() -> None:
    error = chat_refusal(
        messages=[{"role": "user", "content": "a"}, {"role": "user", "content": "b", "x": 1}]
    )
    assert error.param == "messages[1].x"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("functions", [{"name": "f"}]),
        ("function_call", {"name": "f"}),
        ("reasoning_effort", "high"),
    ],
)
def test_what_a_chat_cannot_honour_is_refused_by_name(field: str, value: Any) -> None:
    error = chat_refusal(**{field: value})
    assert (error.param, error.code) == (field, "unsupported_parameter")


def test_defaults_that_clients_send_along_are_accepted() -> None:
    asked: dict[str, Any] = {
        "logprobs": False,
        "response_format": {"type": "text"},
        "tools": [],
        "metadata": {"a": "b"},
    }
    assert parse_chat_request({**CHAT, **asked}) == parse_chat_request(CHAT)


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


@given(field=st.sampled_from(sorted(CHAT_FIELDS)), value=json_values)
def test_no_value_of_a_chat_breaks_the_parser(field: str, value: Any) -> None:
    param = refused_param(parse_chat_request, {**CHAT, field: value})
    assert param is None or param.startswith(field)
