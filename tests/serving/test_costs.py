"""What a request cost, and what the engine measured of it, end up in its record."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import requests

from apikeys.prices import REFRESH_EVERY
from tests.server import Server
from tests.serving.records import wait_for_record

MODEL = "smollm2-135m-instruct"  # its name; prices go by it, whatever alias is asked for
BODY = {"model": "open-autoglm-7b", "prompt": "Once upon a time", "ignore_eos": True, "max_tokens": 8}
INPUT, OUTPUT = 2_000_000, 3_000_000  # nanos a token: 2,000 and 3,000 a million

PRICE = f"""
from datetime import datetime, UTC
from apikeys.models import Price
Price.objects.create(model={MODEL!r}, input=2000, output=3000, valid_from=datetime(2020, 1, 1, tzinfo=UTC))
"""


@pytest.fixture(scope="module")
def priced(server: Server, api_key: str) -> Server:
    """The server, once it has noticed that its model has a price."""
    server.shell(PRICE)
    deadline = time.monotonic() + 3 * REFRESH_EVERY
    while not ask(server, api_key, max_tokens=1)["cost_nanos"]:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return server


def ask(server: Server, key: str, **fields: object) -> dict[str, Any]:
    """The record of one request."""
    answer = requests.post(
        f"{server.url}/v1/completions",
        json={**BODY, **fields},
        headers={"Authorization": f"Bearer {key}"},
        timeout=60,
    )
    return wait_for_record(server, answer.headers["x-request-id"])


def test_a_request_costs_its_tokens(priced: Server, api_key: str) -> None:
    record = ask(priced, api_key)
    assert (record["prompt_tokens"], record["completion_tokens"]) == (4, 8)
    assert record["cost_nanos"] == 4 * INPUT + 8 * OUTPUT


def test_an_answer_from_the_cache_costs_no_money(priced: Server, new_key: Callable[[], str]) -> None:
    key = new_key()
    priced.change_key(key, caches_answers=True)
    miss, hit = (ask(priced, key, temperature=0) for _ in range(2))
    assert (miss["cached"], miss["cost_nanos"]) == (0, 4 * INPUT + 8 * OUTPUT)
    assert (hit["cached"], hit["cost_nanos"], hit["completion_tokens"]) == (1, 0, 8)


def test_what_fails_is_free(priced: Server, api_key: str) -> None:
    refused = ask(priced, api_key, max_tokens=10_000_000)
    assert refused["status"] == 400
    assert (refused["cost_nanos"], refused["compute_us"], refused["queue_ms"]) == (0, 0, None)


def test_who_leaves_in_mid_stream_pays_what_was_made(priced: Server, api_key: str) -> None:
    answer = requests.post(
        f"{priced.url}/v1/completions",
        json={**BODY, "max_tokens": 8000, "stream": True},
        headers={"Authorization": f"Bearer {api_key}"},
        stream=True,
        timeout=60,
    )
    next(answer.iter_lines())
    answer.close()
    record = wait_for_record(priced, answer.headers["x-request-id"])
    assert record["status"] == 499
    assert record["cost_nanos"] == 4 * INPUT + record["completion_tokens"] * OUTPUT
    assert record["compute_us"] > 0


@pytest.mark.parametrize("fields", [{"max_tokens": 20}, {"n": 3}, {"max_tokens": 200, "stop": [" "]}])
def test_a_record_tells_where_the_time_went(server: Server, api_key: str, fields: dict[str, Any]) -> None:
    record = ask(server, api_key, **fields)
    stages = record["queue_ms"] + record["prefill_ms"] + record["decode_ms"]
    assert 0 < stages <= record["duration_ms"] + 2  # each is rounded
    assert 0 < record["compute_us"] <= 1000 * record["duration_ms"]


def test_embeddings_are_measured_too(server: Server, api_key: str) -> None:
    answer = requests.post(
        f"{server.url}/v1/embeddings",
        json={"model": MODEL, "input": ["A dog barks."] * 20},
        headers={"Authorization": f"Bearer {api_key}"},
        timeout=60,
    )
    record = wait_for_record(server, answer.headers["x-request-id"])
    assert record["status"] == 200
    assert record["prefill_ms"] > 0
    assert 0 < record["compute_us"] <= 1000 * record["duration_ms"]
