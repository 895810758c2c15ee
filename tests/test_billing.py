"""A whole server under load, killed at random moments: what answers stated is what is booked."""

from __future__ import annotations

import json
import random
import re
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.database import read
from tests.server import Server
from tests.serving.records import wait_for_record

pytestmark = pytest.mark.slow

ROUNDS = 2  # tests/apikeys/usage/test_death.py has eighteen more, without a model around the writer
CLIENTS = 4
EMAIL, PASSWORD = "billing@example.com", "correct horse battery"
BODY = {"model": "open-autoglm-7b", "prompt": "Once upon a time", "ignore_eos": True}

Tokens = tuple[int, int]  # in, out


@pytest.fixture(scope="module")
def own_server() -> Iterator[Server]:
    """One that may be killed, and on which nobody else asks for anything."""
    with Server(RATE_LIMIT_PER_SECOND="1000", RATE_LIMIT_BURST="1000") as server:
        server.create_user(EMAIL, PASSWORD)
        yield server


@pytest.fixture(scope="module")
def key(own_server: Server) -> str:
    return own_server.create_key(EMAIL)


def test_what_answers_stated_is_booked_once_through_every_kill(own_server: Server, key: str) -> None:
    told: dict[str, Tokens] = {}
    for _ in range(ROUNDS):
        clients = [threading.Thread(target=ask, args=(own_server, key, told)) for _ in range(CLIENTS)]
        before = len(told)
        for client in clients:
            client.start()
        wait_until(lambda before=before: len(told) >= before + CLIENTS)
        time.sleep(random.uniform(0, 0.5))
        own_server.stop(signal.SIGKILL)
        for client in clients:
            client.join()
        own_server.start()
        own_server.wait_ready()
    wait_until(lambda: told.keys() <= {row["request_id"] for row in booked(own_server)})
    rows = booked(own_server)
    assert len(rows) == len({row["request_id"] for row in rows})
    books = {row["request_id"]: (row["prompt_tokens"], row["completion_tokens"]) for row in rows}
    assert told.items() <= books.items()


def test_clients_that_leave_pay_for_exactly_what_the_engine_made(own_server: Server, key: str) -> None:
    made, known = tokens_made(own_server), {row["request_id"] for row in booked(own_server)}
    for chunks in (1, 7, 30):
        answer = post(own_server, key, stream=True, max_tokens=8000)
        for _ in zip(range(chunks), answer.iter_content(None), strict=False):
            pass
        answer.close()
        record = wait_for_record(own_server, answer.headers["x-request-id"])
        assert (record["status"], record["finish_reason"]) == (499, "abort")
    billed = sum(row["completion_tokens"] for row in booked(own_server) if row["request_id"] not in known)
    assert billed == tokens_made(own_server) - made


def ask(server: Server, key: str, told: dict[str, Tokens]) -> None:
    """One request after the other until the server dies; notes the tokens of each whole answer."""
    number = 0
    while True:
        number += 1
        try:
            answer = post(server, key, stream=number % 2 == 0, max_tokens=random.randint(1, 12))
            usage = usage_of(answer)
        except requests.RequestException:
            return
        if usage is not None:
            told[answer.headers["x-request-id"]] = (usage["prompt_tokens"], usage["completion_tokens"])


def post(server: Server, key: str, stream: bool, max_tokens: int) -> requests.Response:
    options = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    return requests.post(
        f"{server.url}/v1/completions",
        json={**BODY, "max_tokens": max_tokens, **options},
        headers={"Authorization": f"Bearer {key}"},
        stream=stream,
        timeout=60,
    )


def usage_of(answer: requests.Response) -> dict[str, Any] | None:
    """None: a stream that broke off."""
    if answer.headers["Content-Type"] == "application/json":
        found: dict[str, Any] = answer.json()["usage"]
        return found
    events = [line.removeprefix(b"data: ") for line in answer.iter_lines() if line.startswith(b"data: ")]
    if not events or events[-1] != b"[DONE]":
        return None
    last: dict[str, Any] = json.loads(events[-2])["usage"]
    return last


def booked(server: Server) -> list[dict[str, Any]]:
    return read(server.environment, "SELECT * FROM apikeys_usagerecord")


def tokens_made(server: Server) -> int:
    """What the engine itself counted, from the page of models."""
    with requests.Session() as session:
        page = session.get(f"{server.url}/accounts/login/").text
        token = re.search(r'csrfmiddlewaretoken" value="(\w+)"', page)
        assert token is not None
        sign_in = {"login": EMAIL, "password": PASSWORD, "csrfmiddlewaretoken": token[1]}
        session.post(f"{server.url}/accounts/login/", sign_in, headers={"Referer": server.url})
        cards = session.get(f"{server.url}/console/models/live/").text
    count = re.search(r"Tokens made</dt><dd>([\d,]+)<", cards)
    assert count is not None
    return int(count[1].replace(",", ""))


def wait_until(condition: Any) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
