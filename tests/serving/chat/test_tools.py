"""Calls of tools as programs see them: the `openai` package on a real server. The default model is small;
where it must call, the grammar makes sure that it does so well."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from serving.chat.schemas import parse_chat_request
from serving.errors import BadRequest
from tests.server import Server
from tests.serving.records import wait_for_record

HELLO: Any = [{"role": "user", "content": "What is the weather in 北京? 🌸"}]
CITY: Any = {
    "type": "object",
    "properties": {"city": {"enum": ["北京", "Zoë 🌸"]}, "note": {"type": "string", "maxLength": 20}},
    "required": ["city", "note"],
    "additionalProperties": False,
}
WEATHER: Any = {"name": "get_weather", "description": "Tells the weather.", "parameters": CITY}
TOOLS: Any = [
    {"type": "function", "function": {**WEATHER, "strict": True}},
    {"type": "function", "function": {"name": "now"}},
]
CHOSEN: Any = {"type": "function", "function": {"name": "get_weather"}}
ASKED: Any = {"model": "open-autoglm-7b", "messages": HELLO, "tools": TOOLS, "max_tokens": 200}


@pytest.fixture(scope="module")
def client(server: Server, api_key: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=api_key, max_retries=0, timeout=60)


@pytest.mark.parametrize("seed", range(3))
def test_a_named_function_is_called_with_arguments_that_follow_its_schema(
    server: Server, client: openai.OpenAI, seed: int
) -> None:
    answer = client.chat.completions.create(**ASKED, tool_choice=CHOSEN, seed=seed, temperature=1.5)
    (choice,) = answer.choices
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    assert choice.message.tool_calls
    (call,) = choice.message.tool_calls
    assert (call.type, call.function.name) == ("function", "get_weather")
    assert call.id.startswith("call_")
    arguments = json.loads(call.function.arguments)
    assert set(arguments) == {"city", "note"}
    assert arguments["city"] in ("北京", "Zoë 🌸")
    assert answer._request_id
    record = wait_for_record(server, answer._request_id)
    assert answer.usage
    assert record["completion_tokens"] == answer.usage.completion_tokens
    assert record["finish_reason"] == "tool_calls"


def test_a_call_may_be_required_once_or_often(client: openai.OpenAI) -> None:
    for seed in range(2):
        asked = {**ASKED, "tool_choice": "required", "seed": seed, "max_tokens": 100}
        one = client.chat.completions.create(**asked, parallel_tool_calls=False).choices[0].message
        assert one.tool_calls
        assert len(one.tool_calls) == 1
        several = client.chat.completions.create(**asked).choices[0].message.tool_calls
        assert several
        assert {call.function.name for call in several} <= {"get_weather", "now"}
        assert len({call.id for call in several}) == len(several)


def put_together(chunks: Any) -> tuple[Any, ...]:
    """Content, calls, finish reason and usage; of calls only the first chunk names them."""
    content, calls, reason, usage = "", [], None, None
    for chunk in chunks:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            content += choice.delta.content or ""
            reason = choice.finish_reason or reason
            for call in choice.delta.tool_calls or ():
                if call.id is not None:
                    assert call.type == "function"
                    calls.append([call.id, call.function.name, ""])
                assert call.index == len(calls) - 1
                calls[-1][2] += call.function.arguments
    return content or None, calls, reason, usage


@pytest.mark.parametrize("choice", ["auto", "required", CHOSEN])
def test_the_pieces_of_a_stream_are_the_plain_answer(client: openai.OpenAI, choice: Any) -> None:
    for seed in range(3):
        asked = {**ASKED, "tool_choice": choice, "seed": seed, "temperature": 1.3, "max_tokens": 60}
        plain = client.chat.completions.create(**asked)
        message = plain.choices[0].message
        calls = [[call.function.name, call.function.arguments] for call in message.tool_calls or ()]
        chunks = client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})
        content, streamed, reason, usage = put_together(chunks)
        assert content == message.content
        assert [call[1:] for call in streamed] == calls
        assert (reason, usage) == (plain.choices[0].finish_reason, plain.usage)


def test_the_packages_own_stream_gathers_the_calls(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(**ASKED, tool_choice=CHOSEN, seed=1) as stream:
        kinds = {event.type for event in stream}
        (choice,) = stream.get_final_completion().choices
    assert {"tool_calls.function.arguments.delta", "tool_calls.function.arguments.done"} <= kinds
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    assert choice.message.tool_calls
    assert json.loads(choice.message.tool_calls[0].function.arguments)["city"] in ("北京", "Zoë 🌸")


def test_arguments_that_are_cut_short_are_told_as_far_as_they_came(client: openai.OpenAI) -> None:
    (choice,) = client.chat.completions.create(
        **{**ASKED, "max_tokens": 25, "tool_choice": CHOSEN, "seed": 1}
    ).choices
    assert choice.finish_reason == "length"
    assert choice.message.tool_calls
    assert choice.message.tool_calls[0].function.arguments.startswith('{"city"')


def test_each_of_several_answers_has_calls_of_its_own(client: openai.OpenAI) -> None:
    choices = client.chat.completions.create(**ASKED, tool_choice=CHOSEN, n=2, seed=3).choices
    calls = [choice.message.tool_calls or [] for choice in choices]
    assert [len(of_one) for of_one in calls] == [1, 1]
    assert calls[0][0].id != calls[1][0].id


def turn(number: int, city: str) -> list[dict[str, Any]]:
    call = {"name": "get_weather", "arguments": json.dumps({"city": city, "note": ""})}
    return [
        {"role": "user", "content": f"What is the weather in {city}?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": f"call_{number}", "type": "function", "function": call}],
        },
        {"role": "tool", "tool_call_id": f"call_{number}", "content": "Sunny."},
        {"role": "assistant", "content": "It is sunny."},
    ]


TALK: Any = [message for number in range(4) for message in turn(number, "Zoë 🌸")]


def test_a_model_that_may_call_does_so_when_it_has_seen_how(client: openai.OpenAI) -> None:
    asked = {**ASKED, "messages": [*TALK, TALK[0]], "temperature": 0, "seed": 0}
    (choice,) = client.chat.completions.create(**asked).choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls
    assert choice.message.tool_calls[0].function.name == "get_weather"
    silent = client.chat.completions.create(**asked, tool_choice="none").choices[0].message
    assert silent.tool_calls is None


def test_calls_and_their_answers_reach_the_model(client: openai.OpenAI) -> None:
    """Its template knows no tools: they are told in words."""
    spelled = [
        TALK[0],
        {
            "role": "assistant",
            "content": '<tool_call>\n{"name": "get_weather", "arguments": '
            f"{TALK[1]['tool_calls'][0]['function']['arguments']}}}\n</tool_call>",
        },
        {"role": "user", "content": "<tool_response>\nSunny.\n</tool_response>"},
    ]
    asked = {"model": ASKED["model"], "max_tokens": 20, "temperature": 0, "seed": 0}
    same = [client.chat.completions.create(**asked, messages=talk) for talk in (TALK[:3], spelled)]
    assert same[0].usage == same[1].usage
    assert same[0].choices[0].message.content == same[1].choices[0].message.content


def test_an_own_message_with_calls_can_be_sent_back(client: openai.OpenAI) -> None:
    message = client.chat.completions.create(**ASKED, tool_choice=CHOSEN, seed=2).choices[0].message
    assert message.tool_calls
    answered = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "Rain."}
    again: Any = [*HELLO, message, answered]
    assert client.chat.completions.create(**{**ASKED, "messages": again, "max_tokens": 5}).choices


def test_text_with_tools_may_have_to_be_json(client: openai.OpenAI) -> None:
    asked = {**ASKED, "seed": 1, "max_tokens": 20, "response_format": {"type": "json_object"}}
    (choice,) = client.chat.completions.create(**asked).choices
    assert choice.message.tool_calls or (choice.message.content or "").startswith("{")


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
        ({"tools": [TOOLS[0], TOOLS[0]]}, "tools"),
        ({"tools": TOOLS[1:] * 129}, "tools"),
        ({"tools": {}}, "tools"),
        ({"tool_choice": "any"}, "tool_choice"),
        ({"tool_choice": {"type": "custom"}}, "tool_choice.type"),
        ({"tool_choice": {"type": "function", "function": {"name": "nothing"}}}, "tool_choice"),
        ({"tools": [], "tool_choice": "required"}, "tool_choice"),
        ({"parallel_tool_calls": 1}, "parallel_tool_calls"),
        ({"guided_regex": "a"}, "guided_regex"),
        ({"min_tokens": 1}, "min_tokens"),
        ({"functions": [WEATHER]}, "functions"),
    ],
)
def test_wrong_tools_are_refused_by_name(change: Any, param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_chat_request({**ASKED, **change})
    assert caught.value.param == param


def nested(levels: int) -> Any:
    return {"items": nested(levels - 1)} if levels else {}


@pytest.mark.parametrize(
    ("parameters", "param"),
    [
        ([], "parameters"),
        ({"type": "string"}, "parameters.type"),
        ({"type": ["object", "null"]}, "parameters.type"),
        (nested(100), "parameters"),
        ({"maximum": float("inf")}, "parameters"),
        ({"title": "\ud800"}, "parameters"),
    ],
)
def test_wrong_parameters_are_refused_by_name(parameters: Any, param: str) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": parameters}}
    with pytest.raises(BadRequest) as caught:
        parse_chat_request({**ASKED, "tools": [tool]})
    assert caught.value.param == f"tools[0].function.{param}"


CALL: Any = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "user", "content": "a", "tool_calls": [CALL]}, "tool_calls"),
        ({"role": "assistant", "tool_calls": [{**CALL, "id": None}]}, "tool_calls[0].id"),
        ({"role": "assistant", "tool_calls": [{**CALL, "function": {}}]}, "tool_calls[0].function.name"),
        ({"role": "assistant", "content": None}, "content"),
        ({"role": "tool", "content": "a"}, "tool_call_id"),
        ({"role": "user", "content": "a", "tool_call_id": "a"}, "tool_call_id"),
    ],
)
def test_a_wrong_message_about_tools_is_refused_by_its_path(message: Any, param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_chat_request({**ASKED, "messages": [message]})
    assert caught.value.param == f"messages[0].{param}"


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"messages": [*HELLO, {"role": "tool", "tool_call_id": "x", "content": "a"}]}, "messages"),
        (
            {
                "tools": [
                    {"type": "function", "function": {"name": "f", "parameters": {"properties": {"a": 1}}}}
                ]
            },
            "tools",
        ),
    ],
)
def test_what_only_the_model_can_tell_is_refused_by_name_too(
    client: openai.OpenAI, change: Any, param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**{**ASKED, **change})
    assert caught.value.param == param
