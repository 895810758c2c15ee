"""Batches on the real server, through OpenAI's own client."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any, Final

import openai
import pytest
from openai.types import Batch

from tests.server import Server

ENDPOINT: Final = "/v1/chat/completions"
WITHIN = 240.0  # seconds; a busy machine takes a while to start a server, and no test waits for failure
MODEL = "open-autoglm-7b"


@pytest.fixture
def client(server: Server, api_key: str) -> openai.OpenAI:
    return client_of(server, api_key)


def client_of(server: Server, key: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0, timeout=60)


def line(custom_id: str, url: str = ENDPOINT, **changes: Any) -> dict[str, Any]:
    """One request that gives the same answer every time."""
    asked: Any = {
        "/v1/chat/completions": {
            "messages": [{"role": "user", "content": "Hi!"}],
            "max_tokens": 8,
            "temperature": 0,
        },
        "/v1/completions": {"prompt": "Once upon a time", "max_tokens": 8},
        "/v1/responses": {"input": "Hi!", "max_output_tokens": 8},
        "/v1/embeddings": {"input": "Hi!"},
    }[url]
    body = {"model": MODEL, **asked, **changes}
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": body}


def long_line(custom_id: str, tokens: int) -> dict[str, Any]:
    return line(custom_id, "/v1/completions", max_tokens=tokens, ignore_eos=True)


def jsonl(lines: Sequence[Any]) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in lines)


def upload(client: openai.OpenAI, lines: Sequence[Any]) -> str:
    return client.files.create(file=("in.jsonl", jsonl(lines)), purpose="batch").id


def start(client: openai.OpenAI, lines: Sequence[Any], url: str = ENDPOINT) -> Batch:
    endpoint: Any = url
    return client.batches.create(
        input_file_id=upload(client, lines), endpoint=endpoint, completion_window="24h"
    )


def wait_for(client: openai.OpenAI, batch: Batch, *statuses: str, answered: int = 0) -> Batch:
    """The batch when it has come to one of ``statuses`` and has so many answers."""
    deadline = time.monotonic() + WITHIN
    while True:
        batch = client.batches.retrieve(batch.id)
        assert batch.request_counts
        if batch.status in statuses and batch.request_counts.completed >= answered:
            return batch
        assert time.monotonic() < deadline, batch
        time.sleep(0.1)


def content(client: openai.OpenAI, file_id: str | None) -> dict[str, dict[str, Any]]:
    """The lines of an output or error file, by their custom ids, each of which may come once."""
    if file_id is None:
        return {}
    lines = [json.loads(text) for text in client.files.content(file_id).text.splitlines()]
    found = {one["custom_id"]: one for one in lines}
    assert len(found) == len(lines)
    return found
