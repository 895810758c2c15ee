"""/v1/responses as programs see it: the `openai` package on a real server."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import openai
import pytest

from tests.server import Server
from tests.serving.records import wait_for_record

MODEL = "open-autoglm-7b"
ASKED: Any = {"model": MODEL, "input": "Say hello.", "temperature": 0, "max_output_tokens": 30}
WILD: Any = {"model": MODEL, "input": "用中文写一首关于春天🌸的诗", "max_output_tokens": 60}


@pytest.fixture(scope="module")
def client(server: Server, api_key: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=api_key, max_retries=0, timeout=60)


def test_a_response_has_openais_shape(client: openai.OpenAI) -> None:
    response = client.responses.create(**ASKED, metadata={"a": "b"}, instructions="Be kind.")
    assert "ello" in response.output_text
    assert response.id.startswith("resp_")
    assert (response.object, response.status, response.error) == ("response", "completed", None)
    assert (response.metadata, response.instructions) == ({"a": "b"}, "Be kind.")
    assert response.usage
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens


@pytest.mark.parametrize("seed", range(4))
def test_the_pieces_of_a_stream_are_the_plain_answer(client: openai.OpenAI, seed: int) -> None:
    plain = client.responses.create(**WILD, extra_body={"seed": seed})
    events = list(client.responses.create(**WILD, extra_body={"seed": seed}, stream=True))
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == plain.output_text
    last = events[-1]
    assert last.type == f"response.{plain.status}"
    assert last.response.output_text == plain.output_text
    assert last.response.usage == plain.usage


def test_the_events_come_in_openais_order_and_are_numbered(client: openai.OpenAI) -> None:
    events = list(client.responses.create(**ASKED, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert list(dict.fromkeys(event.type for event in events)) == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]


def test_too_few_tokens_leave_it_incomplete(client: openai.OpenAI) -> None:
    response = client.responses.create(**{**ASKED, "max_output_tokens": 2})
    assert response.status == "incomplete"
    assert response.incomplete_details
    assert response.incomplete_details.reason == "max_output_tokens"


@pytest.mark.parametrize("stream", [False, True])
def test_a_conversation_can_be_gone_on_with(client: openai.OpenAI, stream: bool) -> None:
    if stream:
        *_, last = client.responses.create(**ASKED, instructions="Be kind.", stream=True)
        assert last.type == "response.completed"
        first = last.response
    else:
        first = client.responses.create(**ASKED, instructions="Be kind.")
    second = client.responses.create(**{**ASKED, "input": "Again!"}, previous_response_id=first.id)
    turns: Any = [
        {"role": "user", "content": "Say hello."},
        {"role": "assistant", "content": [{"type": "output_text", "text": first.output_text}]},
        {"role": "user", "content": [{"type": "input_text", "text": "Again!"}]},
    ]
    same = client.responses.create(**{**ASKED, "input": turns})
    assert second.usage
    assert same.usage
    assert second.usage.input_tokens == same.usage.input_tokens
    assert second.output_text == same.output_text
    assert second.previous_response_id == first.id


def test_a_response_can_be_read_and_forgotten(client: openai.OpenAI) -> None:
    response = client.responses.create(**ASKED)
    assert client.responses.retrieve(response.id).output_text == response.output_text
    client.responses.delete(response.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(response.id)


def test_what_is_not_to_be_stored_is_not(client: openai.OpenAI) -> None:
    response = client.responses.create(**ASKED, store=False)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(response.id)


def test_a_response_is_nobody_elses(
    server: Server, client: openai.OpenAI, new_key: Callable[[], str]
) -> None:
    response = client.responses.create(**ASKED)
    stranger = openai.OpenAI(base_url=f"{server.url}/v1", api_key=new_key(), max_retries=0)
    with pytest.raises(openai.NotFoundError):
        stranger.responses.retrieve(response.id)
    with pytest.raises(openai.NotFoundError):
        stranger.responses.delete(response.id)
    with pytest.raises(openai.BadRequestError) as caught:
        stranger.responses.create(**ASKED, previous_response_id=response.id)
    assert (caught.value.param, caught.value.code) == (
        "previous_response_id",
        "previous_response_not_found",
    )


def test_a_schema_is_followed(client: openai.OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"enum": ["王芳", "Zoë 🌸"]}},
        "required": ["name"],
        "additionalProperties": False,
    }
    text: Any = {"format": {"type": "json_schema", "name": "person", "schema": schema, "strict": True}}
    response = client.responses.create(**ASKED, text=text)
    assert json.loads(response.output_text)["name"] in ("王芳", "Zoë 🌸")


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"input": []}, "input"),
        ({"input": [{"type": "reasoning"}]}, "input[0].type"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content[0].type"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"text": {"format": {"type": "json_schema", "name": "a"}}}, "text.format.schema"),
        ({"background": True}, "background"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"max_tool_calls": 1}, "max_tool_calls"),
        ({"messages": []}, "messages"),
    ],
)
def test_a_wrong_field_is_named(client: openai.OpenAI, change: Any, param: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(**{**ASKED, "extra_body": change})
    assert caught.value.param == param


def test_a_response_is_recorded_with_its_tokens(server: Server, client: openai.OpenAI) -> None:
    raw = client.responses.with_raw_response.create(**ASKED)
    record = wait_for_record(server, raw.headers["x-request-id"])
    usage = raw.parse().usage
    assert usage
    assert (record["endpoint"], record["status"]) == ("/v1/responses", 200)
    assert (record["prompt_tokens"], record["completion_tokens"]) == (usage.input_tokens, usage.output_tokens)
