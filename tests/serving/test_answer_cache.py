"""Keys that take answers which were computed before, on a real server."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import openai
import pytest
import requests

from tests.server import Server
from tests.serving.records import wait_for_record

MODEL = "open-autoglm-7b"
GREEDY: Any = {"model": MODEL, "prompt": "The capital of France is", "max_tokens": 8, "temperature": 0}
CHAT: Any = {"model": MODEL, "messages": [{"role": "user", "content": "用中文写一首诗🌸"}], "max_tokens": 30}
SEEDED: Any = {**CHAT, "seed": 7, "temperature": 1.0}

TOOLS = [{"type": "function", "function": {"name": "now"}}]


@pytest.fixture
def new_caching_key(server: Server, new_key: Callable[[], str]) -> Callable[[], str]:
    """Makes keys that cache, each of a project of its own."""

    def make() -> str:
        key = new_key()
        server.change_key(key, caches_answers=True)
        return key

    return make


@pytest.fixture
def key(new_caching_key: Callable[[], str]) -> str:
    return new_caching_key()


def post(server: Server, key: str, body: Any, path: str = "completions") -> requests.Response:
    headers = {"Authorization": f"Bearer {key}"}
    return requests.post(f"{server.url}/v1/{path}", json=body, headers=headers, timeout=60)


def texts(answer: requests.Response) -> list[str]:
    return [choice.get("text") or choice["message"]["content"] for choice in answer.json()["choices"]]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("completions", GREEDY),
        ("completions", {**GREEDY, "prompt": ["One, two,", "A, B,"], "n": 2, "logprobs": 2, "echo": True}),
        ("completions", {**GREEDY, "n": 2, "best_of": 3, "seed": 1, "temperature": 1.5}),
        ("completions", {**GREEDY, "max_tokens": 40, "stop": [" the", "."]}),
        ("chat/completions", SEEDED),
        ("chat/completions", {**SEEDED, "response_format": {"type": "json_object"}}),
        ("chat/completions", {**SEEDED, "tools": TOOLS, "tool_choice": "required"}),
    ],
)
def test_the_second_answer_is_the_first_and_says_so(server: Server, key: str, path: str, body: Any) -> None:
    first, second = (post(server, key, body, path) for _ in range(2))
    assert [answer.headers["x-cache"] for answer in (first, second)] == ["miss", "hit"]
    told = [json.dumps({**answer.json(), "id": "", "created": 0}) for answer in (first, second)]
    assert re.sub(r"call_\w+", "call", told[0]) == re.sub(r"call_\w+", "call", told[1])
    assert first.json()["id"] != second.json()["id"]
    assert first.headers["x-request-id"] != second.headers["x-request-id"]


def test_a_hit_is_recorded_with_its_tokens_and_as_cached(server: Server, key: str) -> None:
    answers = [post(server, key, {**GREEDY, "stop": " is"}) for _ in range(2)]
    miss, hit = (wait_for_record(server, answer.headers["x-request-id"]) for answer in answers)
    assert (miss["cached"], hit["cached"]) == (0, 1)
    for field in ("prompt_tokens", "completion_tokens", "status", "finish_reason", "model", "endpoint"):
        assert miss[field] == hit[field]
    assert hit["cost_nanos"] == 0
    assert "x-ratelimit-remaining-requests" in answers[1].headers


def test_a_hit_needs_no_more_of_a_budget_than_it_has_tokens(server: Server, key: str) -> None:
    server.change_key(key, daily_tokens=110)
    asked = {**GREEDY, "max_tokens": 100, "stop": [" ", "."]}
    answers = [post(server, key, asked) for _ in range(2)]
    assert [answer.headers["x-cache"] for answer in answers] == ["miss", "hit"]
    another = post(server, key, {**asked, "top_k": 3})
    assert another.json()["error"]["code"] == "insufficient_quota"


def test_it_does_not_matter_how_the_answer_is_sent(server: Server, key: str) -> None:
    plain = post(server, key, CHAT | {"temperature": 0}, "chat/completions")
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0)
    streamed: Any = client.chat.completions.with_raw_response.create(**CHAT, temperature=0, stream=True)
    assert streamed.headers["x-cache"] == "hit"
    pieces = [chunk.choices[0].delta.content or "" for chunk in streamed.parse()]
    assert len(pieces) > 5
    assert "".join(pieces) == texts(plain)[0]
    message = post(server, key, {**CHAT, "temperature": 0}, "messages")
    assert message.headers["x-cache"] == "hit"
    assert message.json()["content"][0]["text"] == texts(plain)[0]


def test_what_was_streamed_is_kept_too(server: Server, key: str) -> None:
    first = post(server, key, {**SEEDED, "stream": True}, "chat/completions")
    second = post(server, key, SEEDED, "chat/completions")
    assert [answer.headers["x-cache"] for answer in (first, second)] == ["miss", "hit"]


def test_a_response_from_the_cache_is_a_response_of_its_own(server: Server, key: str) -> None:
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0)
    asked: Any = {"model": MODEL, "input": "Say hello.", "temperature": 0, "max_output_tokens": 20}
    first, second = (client.responses.create(**asked) for _ in range(2))
    assert first.id != second.id
    assert client.responses.retrieve(second.id).output_text == first.output_text


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "The capital of France  is"},
        {"max_tokens": 9},
        {"stop": "x"},
        {"logit_bias": {"5": 1}},
        {"top_k": 5},
        {"echo": True},
        {"guided_choice": ["a", "b"]},
    ],
)
def test_another_request_is_a_miss(server: Server, key: str, change: Any) -> None:
    post(server, key, GREEDY)
    assert post(server, key, {**GREEDY, **change}).headers["x-cache"] == "miss"


@pytest.mark.parametrize(
    "change", [{"model": "smollm2-135m-instruct"}, {"seed": 3}, {"user": "me"}, {"n": 1, "stop": []}]
)
def test_what_changes_nothing_is_a_hit(server: Server, key: str, change: Any) -> None:
    post(server, key, GREEDY)
    assert post(server, key, {**GREEDY, **change}).headers["x-cache"] == "hit"


def test_chance_is_not_cached(server: Server, key: str) -> None:
    for _ in range(2):
        assert "x-cache" not in post(server, key, {**GREEDY, "temperature": 0.5}).headers


def test_a_key_that_does_not_ask_for_it_gets_a_fresh_answer(server: Server, api_key: str) -> None:
    for _ in range(2):
        assert "x-cache" not in post(server, api_key, GREEDY).headers


def test_projects_share_nothing(server: Server, new_caching_key: Callable[[], str]) -> None:
    answers = [post(server, key, GREEDY) for key in (new_caching_key(), new_caching_key())]
    assert [answer.headers["x-cache"] for answer in answers] == ["miss", "miss"]


def test_what_a_client_left_is_not_kept(server: Server, key: str) -> None:
    long = {**GREEDY, "max_tokens": 2000, "ignore_eos": True}
    headers = {"Authorization": f"Bearer {key}"}
    url = f"{server.url}/v1/completions"
    left = requests.post(url, json={**long, "stream": True}, headers=headers, stream=True, timeout=60)
    next(left.iter_content(1))
    left.close()
    wait_for_record(server, left.headers["x-request-id"])
    again = requests.post(url, json={**long, "stream": True}, headers=headers, stream=True, timeout=60)
    assert again.headers["x-cache"] == "miss"
    again.close()
