"""The limits of a key as programs meet them: the `openai` package on a real server."""

from __future__ import annotations

import json
import math
import time
from typing import Any

import openai
import pytest

from tests.server import Server
from tests.serving.records import wait_for_record

MODEL = "open-autoglm-7b"
LONG: Any = {"ignore_eos": True}

MAKE_KEYS = """
import json
from apikeys import keys
from console.models import User
user = User.objects.create_user("limited@example.com")
for limits in json.loads('''{limits}'''):
    key, text = keys.mint(user, "limited")
    type(key).objects.filter(pk=key.pk).update(**limits)
    print(text)
"""
LIMITS = [
    {"tokens_per_minute": 100},
    {"max_concurrency": 1},
    {"daily_tokens": 100},
    {"tokens_per_minute": 50},
    {"requests_per_minute": 30},
]


@pytest.fixture(scope="module")
def clients(server: Server) -> list[openai.OpenAI]:
    """With a key for each of LIMITS. They retry as the package does unless it is told not to."""
    texts = server.shell(MAKE_KEYS.format(limits=json.dumps(LIMITS))).splitlines()
    return [openai.OpenAI(base_url=f"{server.url}/v1", api_key=text, timeout=60) for text in texts]


def complete(client: openai.OpenAI, max_tokens: int, **options: Any) -> Any:
    return client.completions.with_raw_response.create(
        model=MODEL, prompt="Once upon a time", max_tokens=max_tokens, extra_body=LONG, **options
    )


def refusal(client: openai.OpenAI, max_tokens: int) -> openai.RateLimitError:
    with pytest.raises(openai.RateLimitError) as caught:
        complete(client, max_tokens)
    return caught.value


def test_tokens_per_minute(clients: list[openai.OpenAI]) -> None:
    client = clients[0].with_options(max_retries=0)
    answer = complete(client, 60)
    used = answer.parse().usage.total_tokens
    assert answer.headers["x-ratelimit-limit-tokens"] == "100"
    assert answer.headers["x-ratelimit-remaining-tokens"] == str(100 - used)
    error = refusal(client, 60)
    assert (error.code, error.type) == ("rate_limit_exceeded", "tokens")
    assert 0 < int(error.response.headers["retry-after-ms"]) < 60_000
    assert int(error.response.headers["x-ratelimit-remaining-tokens"]) < used
    assert "this request may use" in refusal(clients[0], 500).message  # and is not tried again


def test_a_call_passes_at_the_stated_moment_and_not_50_ms_before(clients: list[openai.OpenAI]) -> None:
    client = clients[4].with_options(max_retries=0)
    assert any(tried(client) for _ in range(60))
    for _ in range(20):
        asked = time.monotonic()
        reset = asked + (tried(client) or 0.0)
        sleep_until(reset - 0.05)
        wait = tried(client)
        if time.monotonic() < reset:
            break
    else:
        raise AssertionError("the machine is too busy to see 50 ms")
    assert wait is not None
    sleep_until(time.monotonic() + wait)
    assert tried(client) is None


def tried(client: openai.OpenAI) -> float | None:
    """For how many seconds a refusal says to wait; None if the call passed."""
    try:
        client.post("/tokenize", body={"model": MODEL, "prompt": "Hi"}, cast_to=object)
    except openai.RateLimitError as error:
        headers = error.response.headers
        wait = int(headers["retry-after-ms"]) / 1000
        assert int(headers["retry-after"]) == math.ceil(wait)
        return wait
    return None


def sleep_until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))


def test_what_a_chat_and_embeddings_do_not_use_is_given_back(clients: list[openai.OpenAI]) -> None:
    client = clients[3].with_options(max_retries=0)
    for _ in range(2):
        complete(client, 28, stop=[" "]).parse()
    vectors = client.embeddings.with_raw_response.create(model=MODEL, input="a b c d e")
    assert vectors.headers["x-ratelimit-limit-tokens"] == "50"
    with pytest.raises(openai.RateLimitError, match="Request too large"):
        client.embeddings.create(model=MODEL, input="a " * 60)
    with pytest.raises(openai.RateLimitError, match="Request too large"):
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "Hi!"}])


def test_requests_at_once(server: Server, clients: list[openai.OpenAI]) -> None:
    client = clients[1]
    stream = client.completions.create(
        model=MODEL, prompt="Once", max_tokens=2000, stream=True, extra_body=LONG
    )
    next(iter(stream))
    error = refusal(client.with_options(max_retries=0), 1)
    assert (error.code, error.response.headers["retry-after"]) == ("rate_limit_exceeded", "1")
    stream.close()
    wait_for_record(server, stream.response.headers["x-request-id"])
    complete(client.with_options(max_retries=0), 1)


def test_a_daily_budget(server: Server, clients: list[openai.OpenAI]) -> None:
    client = clients[2]
    used = complete(client, 60).parse().usage.total_tokens
    started = time.monotonic()
    error = refusal(client, 90)
    assert (error.status_code, error.code, error.type) == (429, "insufficient_quota", "insufficient_quota")
    assert error.response.headers["x-should-retry"] == "false"
    record = wait_for_record(server, error.response.headers["x-request-id"])
    assert (record["status"], record["prompt_tokens"]) == (429, 0)
    prompt = used - 60
    complete(client, 100 - used - prompt)
    assert "is spent: 100 tokens of 100 tokens" in refusal(client, 1).message
    assert time.monotonic() - started < 20
