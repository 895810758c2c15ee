"""/v1/tokenize and /v1/detokenize on a real server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import requests

from tests.server import Server
from tests.serving.records import wait_for_record

MODEL = "open-autoglm-7b"
TEXT = "请解释 machine learning 👩‍👩‍👧\n"
HELLO: Any = [{"role": "user", "content": "Hi!"}]

Post = Callable[..., requests.Response]


@pytest.fixture
def post(server: Server, api_key: str) -> Post:
    def post(path: str, **body: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {api_key}"}
        return requests.post(
            f"{server.url}/v1/{path}", json={"model": MODEL, **body}, headers=headers, timeout=60
        )

    return post


@pytest.mark.parametrize("text", [TEXT, "", " spaces  kept "])
def test_what_is_tokenized_and_detokenized_is_the_same_text(post: Post, text: str) -> None:
    body = post("tokenize", prompt=text).json()
    assert body["count"] == len(body["tokens"])
    assert body["token_strs"] is None
    assert post("detokenize", tokens=body["tokens"]).json() == {"prompt": text}


def test_the_count_is_what_a_completion_is_charged_for(post: Post) -> None:
    count = post("tokenize", prompt=TEXT).json()["count"]
    assert post("completions", prompt=TEXT, max_tokens=1).json()["usage"]["prompt_tokens"] == count


def test_the_count_of_messages_is_what_a_chat_is_charged_for(post: Post) -> None:
    count = post("tokenize", messages=HELLO).json()["count"]
    answer = post("chat/completions", messages=HELLO, max_tokens=1).json()
    assert answer["usage"]["prompt_tokens"] == count


def test_messages_go_through_the_chat_template(post: Post) -> None:
    def template(**options: Any) -> str:
        tokens = post("tokenize", messages=HELLO, **options).json()["tokens"]
        return str(post("detokenize", tokens=tokens).json()["prompt"])

    end = "<|im_start|>user\nHi!<|im_end|>\n"
    assert template().endswith(end + "<|im_start|>assistant\n")
    assert template(add_generation_prompt=False).endswith(end)
    assert template(continue_final_message=True).endswith("<|im_start|>user\nHi!")


def test_a_message_can_be_gone_on_with(post: Post) -> None:
    said: Any = [*HELLO, {"role": "assistant", "content": "One, two, three,"}]
    answer = post(
        "chat/completions", messages=said, continue_final_message=True, temperature=0, max_tokens=3
    ).json()
    assert "four" in answer["choices"][0]["message"]["content"]


def test_tokens_are_spelled_on_request(post: Post) -> None:
    body = post("tokenize", prompt="Hello world", return_token_strs=True).json()
    assert body["token_strs"] == ["Hello", "Ġworld"]


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("tokenize", {}, "prompt"),
        ("tokenize", {"prompt": "a", "messages": HELLO}, "prompt"),
        ("tokenize", {"messages": HELLO, "add_special_tokens": True}, "add_special_tokens"),
        ("tokenize", {"prompt": ["a"]}, "prompt"),
        ("tokenize", {"prompt": "a", "tools": [{}]}, "tools"),
        ("tokenize", {"prompt": "a", "n": 1}, "n"),
        (
            "tokenize",
            {"messages": HELLO, "add_generation_prompt": True, "continue_final_message": True},
            "continue_final_message",
        ),
        ("detokenize", {}, "tokens"),
        ("detokenize", {"tokens": "a"}, "tokens"),
        ("detokenize", {"tokens": [1.0]}, "tokens"),
        ("detokenize", {"tokens": [49152]}, "tokens"),
    ],
)
def test_a_wrong_field_is_named(post: Post, path: str, body: Any, param: str) -> None:
    response = post(path, **body)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param


def test_what_no_context_can_hold_is_refused_before_it_is_tokenized(post: Post) -> None:
    response = post("tokenize", prompt="a " * 500_000)
    assert response.json()["error"]["code"] == "context_length_exceeded"


def test_an_unknown_model_is_404(post: Post) -> None:
    assert post("detokenize", model="nobody", tokens=[1]).status_code == 404


def test_a_call_is_recorded_and_costs_no_tokens(server: Server, post: Post) -> None:
    response = post("tokenize", prompt="Hello")
    record = wait_for_record(server, response.headers["x-request-id"])
    assert (record["endpoint"], record["status"]) == ("/v1/tokenize", 200)
    assert (record["prompt_tokens"], record["completion_tokens"]) == (0, 0)
    assert "x-ratelimit-remaining-requests" in response.headers
