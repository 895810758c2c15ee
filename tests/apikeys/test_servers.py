"""What several server processes on one database do as one. They have no model: what is asked of them has
passed its limits, or was refused, before it is known that there is none."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import requests

from apikeys import signatures
from apikeys.known import TRUSTED
from apikeys.limits.buckets import MILLISECOND
from apikeys.limits.words import format_duration
from tests.environment import make_data_dir
from tests.server import Server
from tests.serving.test_serve import models_file

pytestmark = pytest.mark.slow

SERVERS, TASKS = 4, 50
RATE, BURST = 10, 50
HAMMERED_FOR = 4.0  # seconds, and until so many were
REFUSED = 200
BODY = {"model": "none", "prompt": "Hi"}


@pytest.fixture(scope="module")
def servers() -> Iterator[list[Server]]:
    """On one DATA_DIR, and so on one database, one Redis where there is one, and with one secret key."""
    folder = make_data_dir()
    environment = {
        "DATA_DIR": str(folder),
        "MODELS_FILE": str(models_file(folder)),
    }
    servers = [Server(**environment) for _ in range(SERVERS)]
    try:
        for number, server in enumerate(servers):
            server.start()
            if number == 0:  # it prepares the database
                server.wait_ready("/healthz")
        for server in servers:
            server.wait_ready("/healthz")
        yield servers
    finally:
        for server in servers:
            server.stop()


def ask(server: Server, key: str, **headers: str) -> requests.Response:
    headers = {"Authorization": f"Bearer {key}", **headers}
    return requests.post(f"{server.url}/v1/completions", json=BODY, headers=headers, timeout=30)


@dataclass
class Tally:
    admitted: int = 0
    refused: int = 0
    first_asked: float = 0.0
    first_answered: float = 0.0
    last_asked: float = 0.0
    last_answered: float = 0.0


async def hammer(servers: list[Server], key: str) -> Tally:
    """Everybody asks again as soon as they are answered."""
    tally = Tally(first_asked=time.monotonic())

    async def one(client: httpx.AsyncClient) -> None:
        while tally.refused < REFUSED or time.monotonic() < tally.first_asked + HAMMERED_FOR:
            tally.last_asked = time.monotonic()
            answer = await client.post("/v1/completions", json=BODY)
            tally.last_answered = time.monotonic()
            tally.first_answered = tally.first_answered or tally.last_answered
            assert answer.status_code in {404, 429}
            tally.admitted += answer.status_code == 404
            tally.refused += answer.status_code == 429

    headers, limits = {"Authorization": f"Bearer {key}"}, httpx.Limits(max_connections=TASKS)
    clients = [
        httpx.AsyncClient(base_url=server.url, headers=headers, limits=limits, timeout=30)
        for server in servers
    ]
    await asyncio.gather(*(one(client) for client in clients for _ in range(TASKS)))
    for client in clients:
        await client.aclose()
    return tally


@pytest.mark.services
def test_together_they_admit_what_one_would(servers: list[Server]) -> None:
    """Never one request over, at most 1 % under."""
    key = servers[0].create_key("hammer@example.com")
    assert {ask(server, key).status_code for server in servers} == {404}  # they know the key now
    time.sleep(SERVERS / RATE)  # and the bucket is full again
    tally = asyncio.run(hammer(servers, key))
    assert tally.admitted <= BURST + RATE * (tally.last_answered - tally.first_asked)
    possible = BURST + RATE * (tally.last_asked - tally.first_answered)
    assert tally.admitted >= int(0.99 * possible), (tally, possible)


@pytest.mark.services
def test_what_one_server_says_of_the_next_call_is_true_of_all(servers: list[Server]) -> None:
    key = servers[0].create_key("waiter@example.com")
    servers[0].change_key(key, requests_per_minute=30)
    while (refusal := ask(servers[0], key)).status_code == 404:
        pass
    assert refusal.json()["error"]["code"] == "rate_limit_exceeded"
    wait = int(refusal.headers["retry-after-ms"])
    assert int(refusal.headers["retry-after"]) == -(-wait // 1000)
    assert refusal.headers["x-ratelimit-reset-requests"] == format_duration(wait * MILLISECOND)
    assert ask(servers[1], key).status_code == 429
    time.sleep(wait / 1000)
    assert ask(servers[2], key).status_code == 404
    assert ask(servers[3], key).status_code == 429


@pytest.mark.services
def test_one_server_spends_the_budget_of_all(servers: list[Server]) -> None:
    key = servers[0].create_key("spender@example.com")
    servers[0].change_key(key, max_concurrency=1, daily_tokens=1)
    assert {ask(server, key).status_code for server in servers} == {404}
    servers[0].shell(
        "from datetime import date; from apikeys import limits; from apikeys.limits.budgets import Amount;"
        f"from apikeys.models import ApiKey; key = ApiKey.objects.get(prefix={key[:12]!r});"
        "limits.limiter.learn(f'key:{key.pk}', 'daily', date.today().isoformat(), Amount(tokens=1));"
        "limits.stop()"
    )
    for server in servers:
        refusal = ask(server, key)
        assert (refusal.status_code, refusal.json()["error"]["code"]) == (429, "insufficient_quota")
        assert refusal.headers["x-should-retry"] == "false"


def test_a_revoked_key_is_refused_by_every_server_within_a_second(servers: list[Server]) -> None:
    key = servers[0].create_key("revoked@example.com")
    assert {ask(server, key).status_code for server in servers} == {404}
    servers[0].shell(
        "from apikeys import keys; from apikeys.models import ApiKey;"
        f"keys.revoke(ApiKey.objects.get(prefix={key[:12]!r}))"
    )
    revoked_at = time.monotonic()
    for server in servers:
        while ask(server, key).status_code != 401:
            assert time.monotonic() - revoked_at < TRUSTED


def test_a_nonce_is_accepted_by_one_server_once(servers: list[Server]) -> None:
    key = servers[0].create_key("signer@example.com")
    servers[0].change_key(key, signed=True)
    time.sleep(TRUSTED)
    secret = servers[0].shell(
        "from apikeys import signatures; from apikeys.models import ApiKey;"
        f"print(signatures.secret_of(ApiKey.objects.get(prefix={key[:12]!r})))"
    )
    for number in range(5):
        prepared = requests.Request("POST", f"{servers[0].url}/v1/completions", json=BODY).prepare()
        assert isinstance(prepared.body, bytes)
        nonce, now = f"nonce-of-all-servers-{number}", str(int(time.time()))
        signature = signatures.sign(secret, nonce, now, "POST", "/v1/completions", prepared.body)
        signed: dict[str, Any] = {
            "webhook-id": nonce,
            "webhook-timestamp": now,
            "webhook-signature": signature,
        }
        assert sorted(_all_at_once(servers, key, signed)) == [401] * (SERVERS - 1) + [404]


def _all_at_once(servers: list[Server], key: str, headers: dict[str, str]) -> list[int]:
    with ThreadPoolExecutor(len(servers)) as pool:
        return [
            answer.status_code for answer in pool.map(lambda server: ask(server, key, **headers), servers)
        ]
