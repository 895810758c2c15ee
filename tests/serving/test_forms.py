"""Answers that must have a form, from the `openai` package on a real server."""

from __future__ import annotations

import json
import re
from typing import Any

import openai
import pytest

from serving.chat.schemas import parse_chat_request
from serving.errors import BadRequest
from tests.server import Server

HELLO: Any = [{"role": "user", "content": "Describe a person as JSON."}]
CHAT: Any = {"model": "open-autoglm-7b", "messages": HELLO, "max_tokens": 200, "seed": 4}
PERSON: Any = {
    "type": "object",
    "properties": {
        "name": {"enum": ["王芳", "Zoë 🌸"]},
        "age": {"type": "integer", "minimum": 0, "maximum": 9},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}
SCHEMA: Any = {"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON, "strict": True}}


@pytest.fixture(scope="module")
def client(server: Server, api_key: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=api_key, max_retries=0, timeout=60)


def answer(client: openai.OpenAI, **changes: Any) -> str:
    choice = client.chat.completions.create(**{**CHAT, **changes}).choices[0]
    return choice.message.content or ""


@pytest.mark.parametrize("seed", range(5))
def test_a_schema_is_followed(client: openai.OpenAI, seed: int) -> None:
    person = json.loads(answer(client, response_format=SCHEMA, seed=seed, temperature=1.5))
    assert set(person) == {"name", "age"}
    assert person["name"] in ("王芳", "Zoë 🌸")
    assert 0 <= person["age"] <= 9


def test_the_pieces_of_a_stream_are_the_plain_json(client: openai.OpenAI) -> None:
    chunks = client.chat.completions.create(**CHAT, response_format=SCHEMA, stream=True)
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert streamed == answer(client, response_format=SCHEMA)


def test_json_object_begins_an_object(client: openai.OpenAI) -> None:
    text = answer(client, response_format={"type": "json_object"})
    assert text.lstrip().startswith("{")


@pytest.mark.parametrize(
    ("guide", "pattern"),
    [
        ({"guided_choice": ["红", "yes", "no"]}, "红|yes|no"),
        ({"guided_regex": r"[A-Z]{3}-\d{2}"}, r"[A-Z]{3}-\d{2}"),
        ({"guided_grammar": 'start: "红" ("红" | "b")? END\nEND: "."'}, r"红[红b]?\."),
        ({"guided_json": {"enum": [1, 2]}}, "1|2"),
        ({"guided_json": '{"const": "é"}'}, '"é"'),
    ],
)
def test_vllms_guides_are_followed(client: openai.OpenAI, guide: Any, pattern: str) -> None:
    assert re.fullmatch(pattern, answer(client, extra_body=guide))
    completion = client.completions.create(
        model=CHAT["model"], prompt="It is ", max_tokens=50, extra_body=guide
    )
    assert re.fullmatch(pattern, completion.choices[0].text)


def test_a_form_that_the_model_cannot_follow_is_the_requests_mistake(client: openai.OpenAI) -> None:
    too_large = "start: " + " | ".join(['"a"'] * 2700)  # to parse, not to compile
    with pytest.raises(openai.BadRequestError, match="cannot be followed") as caught:
        answer(client, extra_body={"guided_grammar": too_large})
    assert caught.value.param == "guided_grammar"


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, "response_format.json_schema.name"),
        ({"guided_choice": []}, "guided_choice"),
        ({"guided_choice": ["a", ""]}, "guided_choice"),
        ({"guided_regex": 1}, "guided_regex"),
        ({"guided_grammar": 1}, "guided_grammar"),
        ({"guided_grammar": " "}, "guided_grammar"),
        ({"guided_json": 1}, "guided_json"),
        ({"guided_regex": "a", "guided_choice": ["a"]}, "guided_choice"),
        ({"guided_regex": "a", "min_tokens": 1}, "min_tokens"),
    ],
)
def test_a_wrong_form_is_refused_by_name(change: Any, param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_chat_request({"model": "m", "messages": HELLO, **change})
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("guide", "param"),
    [
        ({"guided_regex": "("}, "guided_regex"),
        ({"guided_json": {"type": "wrong"}}, "guided_json"),
        ({"guided_grammar": "start: nothing"}, "guided_grammar"),
    ],
)
def test_a_form_that_cannot_be_compiled_is_refused_by_name(
    client: openai.OpenAI, guide: Any, param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        answer(client, extra_body=guide)
    assert caught.value.param == param
