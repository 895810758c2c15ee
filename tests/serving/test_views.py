"""The endpoints as programs see them: the `openai` package and the README's call, on a real server."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest
import requests

from tests.server import Server
from tests.serving.records import wait_for_record

MODEL = "open-autoglm-7b"
ROOT = "smollm2-135m-instruct"
GREEDY = {"model": MODEL, "prompt": "The capital of France is", "max_tokens": 8, "temperature": 0}
HELLO: Any = [{"role": "user", "content": "Say hello."}]


@pytest.fixture(scope="module")
def client(server: Server, api_key: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=api_key, max_retries=0, timeout=60)


def post(server: Server, key: str, body: Any, path: str = "/v1/completions") -> requests.Response:
    headers = {"Authorization": f"Bearer {key}"}
    return requests.post(server.url + path, json=body, headers=headers, timeout=60)


def test_the_readmes_call_prints_text(server: Server, api_key: str) -> None:
    url = f"{server.url}/v1/completions"
    headers = {"Authorization": f"Bearer {api_key}", "Content-Type": "application/json"}
    data = {
        "model": "open-autoglm-7b",
        "prompt": "请解释什么是机器学习?",
        "max_tokens": 100,
        "temperature": 0.7,
    }
    response = requests.post(url, json=data, headers=headers)
    assert response.json()["choices"][0]["text"].strip()


def test_a_completion_has_openais_shape(server: Server, api_key: str) -> None:
    response = post(server, api_key, GREEDY)
    body = response.json()
    request_id = response.headers["x-request-id"]
    usage = body.pop("usage")
    assert body.pop("created") > 0
    assert body == {
        "id": "cmpl-" + request_id.removeprefix("req-"),
        "object": "text_completion",
        "model": ROOT,
        "choices": [
            {"index": 0, "text": body["choices"][0]["text"], "logprobs": None, "finish_reason": "length"}
        ],
    }
    assert usage == {"prompt_tokens": 5, "completion_tokens": 8, "total_tokens": 13}


def test_a_chat_completion_has_openais_shape(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model=MODEL, messages=HELLO, max_completion_tokens=30, temperature=0
    )
    assert answer.object == "chat.completion"
    assert answer.id.startswith("chatcmpl-")
    assert answer.choices[0].message.role == "assistant"
    assert "ello" in (answer.choices[0].message.content or "")
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_the_pieces_of_a_stream_are_the_plain_answer(client: openai.OpenAI) -> None:
    asked: Any = {"model": MODEL, "prompt": "写一首诗：春天🌸", "max_tokens": 60, "seed": 7}
    plain = client.completions.create(**asked)
    chunks = list(client.completions.create(**asked, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == plain.choices[0].text
    assert [c.choices[0].finish_reason for c in chunks if c.choices[0].finish_reason] == ["length"]


def test_a_chat_stream_begins_with_the_role_and_ends_with_the_reason(client: openai.OpenAI) -> None:
    chunks = list(client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=5, stream=True))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices[0].finish_reason == "length"
    assert all(chunk.usage is None for chunk in chunks)
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}


def test_include_usage_adds_one_chunk_and_a_null_to_all_others(server: Server, api_key: str) -> None:
    body = {**GREEDY, "stream": True, "stream_options": {"include_usage": True}}
    response = post(server, api_key, body)
    assert response.headers["Content-Type"] == "text/event-stream"
    events = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    assert events.pop() == "[DONE]"
    chunks = [json.loads(event) for event in events]
    last = chunks.pop()
    assert last["choices"] == []
    assert last["usage"] == {"prompt_tokens": 5, "completion_tokens": 8, "total_tokens": 13}
    assert all(chunk["usage"] is None for chunk in chunks)


def test_prompts_times_n_give_choices_in_order(server: Server, api_key: str) -> None:
    alone = [
        post(server, api_key, {**GREEDY, "prompt": prompt}).json()["choices"][0]["text"]
        for prompt in ("One, two,", "A, B,")
    ]
    body = post(server, api_key, {**GREEDY, "prompt": ["One, two,", "A, B,"], "n": 2}).json()
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2, 3]
    assert [choice["text"] for choice in body["choices"]] == [alone[0], alone[0], alone[1], alone[1]]
    assert body["usage"]["completion_tokens"] == 4 * 8


def test_token_ids_are_a_prompt(server: Server, api_key: str) -> None:
    body = post(server, api_key, {**GREEDY, "prompt": [504, 3575]}).json()
    assert body["usage"]["prompt_tokens"] == 2


def test_echo_puts_the_prompt_before_the_text(server: Server, api_key: str) -> None:
    text = post(server, api_key, GREEDY).json()["choices"][0]["text"]
    echoed = post(server, api_key, {**GREEDY, "echo": True}).json()["choices"][0]["text"]
    assert echoed == GREEDY["prompt"] + text


def test_the_same_seed_gives_the_same_text(server: Server, api_key: str) -> None:
    asked = {**GREEDY, "temperature": 1.5, "seed": 11, "max_tokens": 20}
    texts = {post(server, api_key, asked).json()["choices"][0]["text"] for _ in range(3)}
    assert len(texts) == 1


def test_a_stop_string_ends_the_text_before_it_and_is_counted_exactly(server: Server, api_key: str) -> None:
    key = api_key
    whole = post(server, key, {**GREEDY, "max_tokens": 30}).json()["choices"][0]["text"]
    stop = whole[20:26]
    response = post(server, key, {**GREEDY, "max_tokens": 30, "stop": stop})
    choice = response.json()["choices"][0]
    made = response.json()["usage"]["completion_tokens"]
    assert choice["finish_reason"] == "stop"
    assert choice["text"] == whole[: whole.index(stop)]
    # One token fewer does not contain the stop string yet.
    shorter = post(server, key, {**GREEDY, "max_tokens": made - 1}).json()["choices"][0]["text"]
    assert stop not in shorter
    assert stop in post(server, key, {**GREEDY, "max_tokens": made}).json()["choices"][0]["text"]
    assert wait_for_record(server, response.headers["x-request-id"])["completion_tokens"] == made


def test_max_tokens_is_16_for_completions_and_the_whole_context_for_chats(client: openai.OpenAI) -> None:
    text = client.completions.create(model=MODEL, prompt="Once", extra_body={"ignore_eos": True})
    assert text.usage is not None
    assert text.usage.completion_tokens == 16
    chat = client.chat.completions.create(model=MODEL, messages=HELLO, temperature=0)
    assert chat.choices[0].finish_reason == "stop"


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_leaves_one_exact_record(server: Server, api_key: str, stream: bool) -> None:
    response = post(server, api_key, {**GREEDY, "stream": stream})
    record = wait_for_record(server, response.headers["x-request-id"])
    told = {
        name: record[name] for name in ("prompt_tokens", "completion_tokens", "status", "model", "source")
    }
    assert told == {
        "prompt_tokens": 5,
        "completion_tokens": 8,
        "status": 200,
        "model": ROOT,
        "source": "api",
    }
    assert record["endpoint"] == "/v1/completions"
    assert record["finish_reason"] == "length"
    assert record["stream"] == stream
    assert 0 <= record["ttft_ms"] <= record["duration_ms"]


def test_concurrent_requests_are_counted_each(server: Server, new_key: Callable[[], str]) -> None:
    key = new_key()

    def ask(tokens: int) -> tuple[str, int]:
        response = post(server, key, {**GREEDY, "max_tokens": tokens, "ignore_eos": True})
        return response.headers["x-request-id"], response.json()["usage"]["completion_tokens"]

    with ThreadPoolExecutor(12) as pool:
        told = list(pool.map(ask, range(1, 25)))
    assert [tokens for _, tokens in told] == list(range(1, 25))
    assert [wait_for_record(server, id)["completion_tokens"] for id, _ in told] == list(range(1, 25))


def test_models_are_listed_with_what_an_alias_stands_for(client: openai.OpenAI) -> None:
    roots = {model.id: model.to_dict()["root"] for model in client.models.list()}
    assert roots == {ROOT: ROOT, MODEL: ROOT}
    assert client.models.retrieve(MODEL).to_dict()["root"] == ROOT


def test_both_ways_to_send_a_key_work(server: Server, api_key: str) -> None:
    for scheme in ("Bearer", "ApiKey"):
        headers = {"Authorization": f"{scheme} {api_key}"}
        assert requests.get(f"{server.url}/v1/models", headers=headers, timeout=10).status_code == 200


def test_a_wrong_key_is_401(server: Server) -> None:
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="wrong", max_retries=0)
    with pytest.raises(openai.AuthenticationError) as caught:
        client.models.list()
    assert caught.value.code == "invalid_api_key"


def test_a_key_that_asks_too_fast_is_429_and_all_is_recorded(
    server: Server, new_key: Callable[[], str]
) -> None:
    key = new_key()
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: post(server, key, {**GREEDY, "max_tokens": 1}), range(90)))
    refused = [answer for answer in answers if answer.status_code == 429]
    assert {answer.status_code for answer in answers} == {200, 429}
    assert refused[0].json()["error"]["code"] == "rate_limit_exceeded"
    assert int(refused[0].headers["retry-after-ms"]) > 0
    assert wait_for_record(server, refused[0].headers["x-request-id"])["status"] == 429


def test_limits_are_told_with_every_answer(server: Server, api_key: str) -> None:
    for body in (GREEDY, {**GREEDY, "stream": True}, {**GREEDY, "n": 0}, {**GREEDY, "model": "nope"}):
        assert "x-ratelimit-remaining-requests" in post(server, api_key, body).headers


def test_alive_and_ready_need_no_key(server: Server) -> None:
    assert requests.get(f"{server.url}/healthz", timeout=10).json() == {"status": "alive"}
    ready = requests.get(f"{server.url}/readyz", timeout=10).json()
    assert ready["status"] == "ready"
    assert [(model["id"], model["state"]) for model in ready["models"]] == [(ROOT, "ready")]


def test_the_schema_tells_of_every_endpoint_with_examples_that_work(server: Server, api_key: str) -> None:
    schema = requests.get(f"{server.url}/v1/openapi.json", timeout=10).json()
    paths = {path for path in schema["paths"] if path.startswith("/v1/")}
    of_batches = {path for path in paths if path.startswith(("/v1/files", "/v1/batches"))}
    assert of_batches == {  # they need a file: tests/serving/batches
        "/v1/files",
        "/v1/files/{file_id}",
        "/v1/files/{file_id}/content",
        "/v1/batches",
        "/v1/batches/{batch_id}",
        "/v1/batches/{batch_id}/cancel",
    }
    with_bodies = {path for path in paths - of_batches if "post" in schema["paths"][path]}
    assert paths - of_batches - with_bodies == {
        "/v1/models",
        "/v1/models/{name}",
        "/v1/responses/{response_id}",
    }
    assert with_bodies == {
        "/v1/completions",
        "/v1/chat/completions",
        "/v1/messages",
        "/v1/messages/count_tokens",
        "/v1/responses",
        "/v1/embeddings",
        "/v1/tokenize",
        "/v1/detokenize",
    }
    for path in with_bodies:
        examples = schema["paths"][path]["post"]["requestBody"]["content"]["application/json"]["examples"]
        for example in examples.values():
            assert post(server, api_key, example["value"], path).status_code == 200
