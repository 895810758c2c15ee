"""A POST with an Idempotency-Key and its repeats, on a real server."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import openai
import pytest
import requests

from tests.database import read
from tests.server import Server
from tests.serving.records import wait_for_record

MODEL = "open-autoglm-7b"
ASKED: Any = {"model": MODEL, "prompt": "Once upon a time", "max_tokens": 12, "temperature": 1.5}
LONG: Any = {**ASKED, "max_tokens": 150, "ignore_eos": True}
CHAT: Any = {"model": MODEL, "messages": [{"role": "user", "content": "写一首诗🌸"}], "max_tokens": 20}
_numbers = itertools.count(1)


@pytest.fixture
def name() -> str:
    """An Idempotency-Key that no other test has."""
    return f"test-{next(_numbers)}"


def post(
    server: Server, key: str, name: str, body: Any, path: str = "/v1/completions", **how: Any
) -> requests.Response:
    headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": name}
    return requests.post(server.url + path, json=body, headers=headers, **{"timeout": 60, **how})


def assert_is_repeat(again: requests.Response, first: requests.Response) -> None:
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    assert again.status_code == first.status_code
    assert again.content == first.content
    for header in ("x-request-id", "Content-Type"):
        assert again.headers[header] == first.headers[header]


def count_records(server: Server, key: str) -> int:
    """Of a key, when there will be no more of them: the order of the journal is that of the requests."""
    last = post(server, key, f"last-{next(_numbers)}", {**ASKED, "max_tokens": 1})
    wait_for_record(server, last.headers["x-request-id"])
    query = (
        "SELECT r.id FROM apikeys_usagerecord r JOIN apikeys_apikey k ON k.id = r.key_id WHERE k.prefix = ?"
    )
    return len(read(server.environment, query, key[:12])) - 1


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", ASKED),
        ("/v1/completions", {**ASKED, "stream": True}),
        ("/v1/chat/completions", CHAT),
        ("/v1/chat/completions", {**CHAT, "stream": True, "stream_options": {"include_usage": True}}),
        ("/v1/messages", CHAT),
        ("/v1/messages", {**CHAT, "stream": True}),
        ("/v1/responses", {"model": MODEL, "input": "Hi", "max_output_tokens": 9}),
        ("/v1/responses", {"model": MODEL, "input": "Hi", "max_output_tokens": 9, "stream": True}),
        ("/v1/tokenize", {"model": MODEL, "prompt": "Hello"}),
    ],
)
def test_a_repeat_gets_the_first_answer_byte_for_byte(
    server: Server, api_key: str, name: str, path: str, body: Any
) -> None:
    first = post(server, api_key, name, body, path)
    assert first.status_code == 200
    for _ in range(2):
        assert_is_repeat(post(server, api_key, name, body, path), first)


def test_a_repeat_is_not_billed_but_takes_its_place_in_the_bucket(
    server: Server, new_key: Callable[[], str], name: str
) -> None:
    key = new_key()
    answers = [post(server, key, name, ASKED) for _ in range(4)]
    left = [int(answer.headers["x-ratelimit-remaining-requests"]) for answer in answers]
    assert left == sorted(left, reverse=True)
    assert left[0] > left[-1]
    assert count_records(server, key) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_a_repeat_while_the_first_runs_waits_for_its_answer(
    server: Server, api_key: str, name: str, stream: bool
) -> None:
    body = {**LONG, "stream": stream}
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: post(server, api_key, name, body), range(4)))
    (first,) = (answer for answer in answers if "idempotent-replayed" not in answer.headers)
    for answer in answers:
        if answer is not first:
            assert_is_repeat(answer, first)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", {**ASKED, "max_tokens": 13}),
        ("/v1/completions", {**ASKED, "stream": True}),
        ("/v1/chat/completions", ASKED),
        ("/v1/completions?x=1", ASKED),
    ],
)
def test_another_request_under_the_same_key_is_422(
    server: Server, api_key: str, name: str, path: str, body: Any
) -> None:
    post(server, api_key, name, ASKED)
    answer = post(server, api_key, name, body, path)
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "idempotency_key_reused"
    assert wait_for_record(server, answer.headers["x-request-id"])["status"] == 422


def test_anthropics_clients_are_refused_in_their_shape(server: Server, api_key: str, name: str) -> None:
    post(server, api_key, name, CHAT, "/v1/messages")
    body = post(server, api_key, name, {**CHAT, "max_tokens": 3}, "/v1/messages").json()
    assert (body["type"], body["error"]["type"]) == ("error", "invalid_request_error")


def test_keys_are_each_callers_own(server: Server, new_key: Callable[[], str], name: str) -> None:
    answers = [post(server, key, name, ASKED) for key in (new_key(), new_key())]
    assert len({answer.headers["x-request-id"] for answer in answers}) == 2
    assert all("idempotent-replayed" not in answer.headers for answer in answers)


def test_a_refusal_that_would_be_the_same_again_is_kept(server: Server, api_key: str, name: str) -> None:
    body = {**ASKED, "temperature": 3}
    first = post(server, api_key, name, body)
    assert first.status_code == 400
    assert_is_repeat(post(server, api_key, name, body), first)


def test_a_refusal_that_asks_for_another_try_is_not_kept(
    server: Server, new_key: Callable[[], str], name: str
) -> None:
    key = new_key()
    headers = {"Authorization": f"Bearer {key}"}
    first, names = None, (f"{name}-{number}" for number in range(20))
    with ThreadPoolExecutor(16) as pool:
        while first is None or first.status_code != 429:
            empty = pool.map(
                lambda _: requests.post(f"{server.url}/v1/completions", headers=headers), range(60)
            )
            assert {answer.status_code for answer in empty} <= {415, 429}
            first = post(server, key, name := next(names), ASKED)
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=5)
    again: Any = client.completions.with_raw_response.create(
        **ASKED,
        extra_headers={"Idempotency-Key": name},
    )
    assert again.status_code == 200
    assert again.headers["x-request-id"] != first.headers["x-request-id"]
    assert "idempotent-replayed" not in again.headers


@pytest.mark.parametrize("stream", [False, True])
def test_the_first_is_finished_although_its_client_has_left(
    server: Server, new_key: Callable[[], str], name: str, stream: bool
) -> None:
    key, body = new_key(), {**LONG, "stream": stream}
    if stream:
        response = post(server, key, name, body, stream=True)
        next(response.iter_content(1))
        response.close()
    else:
        with suppress(requests.ReadTimeout):
            post(server, key, name, body, timeout=(5, 0.2))
    again = post(server, key, name, body)
    assert again.headers["idempotent-replayed"] == "true"
    record = wait_for_record(server, again.headers["x-request-id"])
    assert (record["status"], record["completion_tokens"]) == (200, LONG["max_tokens"])
    assert again.text.endswith("data: [DONE]\n\n") == stream
    assert count_records(server, key) == 1


@pytest.mark.parametrize("name", ["", "x" * 256, "é"])
def test_a_key_that_cannot_be_one_is_refused(server: Server, api_key: str, name: str) -> None:
    answer = post(server, api_key, name.encode("latin1"), ASKED)  # type: ignore[arg-type]
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_idempotency_key"


def test_the_header_means_nothing_without_a_caller(server: Server) -> None:
    for path, status in (("/v1/completions", 401), ("/healthz", 405)):
        answer = requests.post(server.url + path, headers={"Idempotency-Key": "a"}, timeout=10)
        assert answer.status_code == status
