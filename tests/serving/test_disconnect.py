"""A client that leaves stops its generation and is charged for what was really made."""

from __future__ import annotations

import time
from typing import Any

import pytest
import requests

from tests.server import Server
from tests.serving.records import find_records, wait_for_newest_abort, wait_for_record

LONG = {
    "model": "open-autoglm-7b",
    "prompt": "Once upon a time",
    "max_tokens": 8000,
    "ignore_eos": True,
}


def start_stream(server: Server, key: str, body: dict[str, Any]) -> requests.Response:
    headers = {"Authorization": f"Bearer {key}"}
    return requests.post(
        f"{server.url}/v1/completions",
        json={**body, "stream": True},
        headers=headers,
        stream=True,
        timeout=60,
    )


def test_leaving_in_mid_stream_ends_the_generation_at_once(server: Server, api_key: str) -> None:
    response = start_stream(server, api_key, LONG)
    lines = response.iter_lines()
    seen = sum(1 for _ in zip(lines, range(20), strict=False))
    assert seen == 20
    response.close()
    record = wait_for_record(server, response.headers["x-request-id"])
    assert record["status"] == 499
    assert record["finish_reason"] == "abort"
    assert record["prompt_tokens"] == 4
    assert 10 <= record["completion_tokens"] < 2000
    assert record["duration_ms"] < 20_000


def test_leaving_with_several_choices_counts_them_all(server: Server, api_key: str) -> None:
    response = start_stream(server, api_key, {**LONG, "n": 4})
    next(response.iter_content(1))
    response.close()
    record = wait_for_record(server, response.headers["x-request-id"])
    assert record["status"] == 499
    assert record["completion_tokens"] >= 1


def test_leaving_while_waiting_for_a_plain_answer_ends_the_generation(server: Server, api_key: str) -> None:
    before = time.time()
    with pytest.raises(requests.ReadTimeout):
        requests.post(
            f"{server.url}/v1/completions",
            json=LONG,
            headers={"Authorization": f"Bearer {api_key}"},
            timeout=(10, 1),
        )
    assert time.time() - before < 10
    record = wait_for_newest_abort(server, "/v1/completions")
    assert record["stream"] == 0
    assert 1 <= record["completion_tokens"] < 2000


def test_a_stream_read_to_its_end_is_no_abort(server: Server, api_key: str) -> None:
    response = start_stream(server, api_key, {**LONG, "max_tokens": 5})
    assert response.text.endswith("data: [DONE]\n\n")
    record = wait_for_record(server, response.headers["x-request-id"])
    assert (record["status"], record["completion_tokens"]) == (200, 5)
    assert len(find_records(server, response.headers["x-request-id"])) == 1
