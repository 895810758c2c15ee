"""Function tools of /v1/responses: the `openai` package on a real server."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from serving.errors import BadRequest
from serving.responses.schemas import parse_response_request
from tests.server import Server

CITY: Any = {
    "type": "object",
    "properties": {"city": {"enum": ["北京", "Zoë 🌸"]}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "Tells the weather.",
    "parameters": CITY,
    "strict": True,
}
NOW: Any = {"type": "function", "name": "now", "parameters": {}}
CHOSEN: Any = {"type": "function", "name": "get_weather"}
ASKED: Any = {
    "model": "open-autoglm-7b",
    "input": "What is the weather in 北京? 🌸",
    "tools": [WEATHER, NOW],
    "max_output_tokens": 60,
}


@pytest.fixture(scope="module")
def client(server: Server, api_key: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=api_key, max_retries=0, timeout=60)


def told(response: Any) -> list[tuple[str, ...]]:
    """Of its items, what the model said."""
    return [
        (item.name, item.arguments, item.status) if item.type == "function_call" else (item.content[0].text,)
        for item in response.output
    ]


def test_a_named_function_is_called(client: openai.OpenAI) -> None:
    response = client.responses.create(**ASKED, tool_choice=CHOSEN)
    (call,) = response.output
    assert call.type == "function_call"
    assert (call.name, call.status) == ("get_weather", "completed")
    assert json.loads(call.arguments)["city"] in ("北京", "Zoë 🌸")
    assert call.call_id.startswith("call_")
    assert call.id
    assert call.id.startswith("fc_")
    assert (response.status, response.output_text) == ("completed", "")
    assert response.tools[0].to_dict() == WEATHER
    assert response.tool_choice.model_dump() == CHOSEN


@pytest.mark.parametrize("choice", ["auto", "required", CHOSEN])
def test_the_pieces_of_a_stream_are_the_plain_answer(client: openai.OpenAI, choice: Any) -> None:
    for seed in range(2):
        asked = {**ASKED, "tool_choice": choice, "temperature": 1.3, "extra_body": {"seed": seed}}
        plain = client.responses.create(**asked)
        events = list(client.responses.create(**asked, stream=True))
        assert [event.sequence_number for event in events] == list(range(len(events)))
        written: dict[int, str] = {}
        for event in events:
            if event.type in ("response.output_text.delta", "response.function_call_arguments.delta"):
                written[event.output_index] = written.get(event.output_index, "") + event.delta
        last = events[-1]
        assert last.type == f"response.{plain.status}"
        assert told(last.response) == told(plain)
        whole = [item[1] if len(item) > 1 else item[0] for item in told(plain)]
        assert [written.get(index, "") for index in range(len(whole))] == whole
        assert last.response.usage == plain.usage


def test_the_events_of_a_call_come_in_openais_order(client: openai.OpenAI) -> None:
    events = list(client.responses.create(**ASKED, tool_choice=CHOSEN, stream=True))
    assert list(dict.fromkeys(event.type for event in events)) == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
        "response.completed",
    ]
    (done,) = [event for event in events if event.type == "response.function_call_arguments.done"]
    assert (done.name, json.loads(done.arguments).keys()) == ("get_weather", {"city"})


def test_a_call_that_is_cut_short_is_incomplete(client: openai.OpenAI) -> None:
    response = client.responses.create(**{**ASKED, "max_output_tokens": 16}, tool_choice=CHOSEN)
    assert response.status == "incomplete"
    assert [item.status for item in response.output] == ["incomplete"]


def test_a_conversation_keeps_its_calls(client: openai.OpenAI) -> None:
    first = client.responses.create(**ASKED, tool_choice=CHOSEN, temperature=0)
    (call,) = first.output
    assert call.type == "function_call"
    output: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "Rain."}
    asked = {**ASKED, "temperature": 0, "max_output_tokens": 10}
    second = client.responses.create(**{**asked, "input": [output]}, previous_response_id=first.id)
    turns: Any = [{"role": "user", "content": ASKED["input"]}, call.to_dict(), output]
    same = client.responses.create(**{**asked, "input": turns})
    assert second.usage == same.usage
    assert told(second) == told(same)
    with pytest.raises(openai.BadRequestError, match=call.call_id):
        client.responses.create(**{**asked, "input": [output]})


def test_calls_after_a_text_are_said_with_it() -> None:
    call = {"type": "function_call", "name": "now", "arguments": ""}
    turns = [
        {"role": "assistant", "content": "Let me look."},
        {**call, "call_id": "a"},
        {**call, "call_id": "b"},
        {"type": "function_call_output", "call_id": "a", "output": [{"type": "input_text", "text": "1"}]},
    ]
    said, answered = parse_response_request({**ASKED, "input": turns}).chat.messages
    assert (said.content, [call.id for call in said.calls]) == ("Let me look.", ["a", "b"])
    assert (answered.role, answered.content, answered.call_id) == ("tool", "1", "a")


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": [{**NOW, "parameters": {"type": "array"}}]}, "tools[0].parameters.type"),
        ({"tools": [{**NOW, "function": {}}]}, "tools[0].function"),
        ({"tool_choice": {"type": "allowed_tools"}}, "tool_choice.type"),
        ({"tool_choice": {"type": "function", "name": "nothing"}}, "tool_choice"),
        ({"input": [{"type": "function_call", "name": "now", "arguments": "{}"}]}, "input[0].call_id"),
        ({"input": [{"type": "function_call_output", "call_id": "a"}]}, "input[0].output"),
    ],
)
def test_wrong_tools_are_refused_by_name(change: Any, param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_response_request({**ASKED, **change})
    assert caught.value.param == param
