"""What servers share on Redis, and what each does while a real one is stopped, frozen and started again."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from apikeys.bounds import Bounds
from apikeys.errors import InsufficientQuota, RateLimited
from apikeys.limits import Limiter, Permit
from apikeys.limits.budgets import Amount
from apikeys.limits.shared.fallback import SharedStore
from apikeys.limits.shared.line import PATIENCE, Line
from apikeys.limits.shared.store import LEASE, RedisStore
from tests.apikeys.limits.conftest import Clock
from tests.services import Redis

pytestmark = pytest.mark.services
SOON = 10.0  # seconds, and much less where the machine is not busy


@pytest.fixture
def servers(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[SharedStore]]:
    """Two, which know of each other."""
    monkeypatch.setattr("apikeys.limits.shared.line.PULSE_EVERY", 0.05)
    servers = [SharedStore(redis.url), SharedStore(redis.url)]
    for server in servers:
        server.start()
    wait_until(lambda: all(server._redis.servers == 2 for server in servers))
    yield servers
    for server in servers:
        server.stop()


def wait_until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SOON
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


async def all_sent(store: RedisStore) -> None:
    """What was asked before has been answered."""
    await asyncio.wrap_future(store._line.ask("PING"))


async def admitted(limiter: Limiter, tries: int) -> int:
    answers = await asyncio.gather(*(limiter.admit("key:1") for _ in range(tries)), return_exceptions=True)
    assert all(isinstance(answer, Permit | RateLimited) for answer in answers)
    return sum(isinstance(answer, Permit) for answer in answers)


async def test_servers_share_every_limit(servers: list[SharedStore]) -> None:
    one, other = (Limiter(1, 10, server) for server in servers)
    assert await admitted(one, 7) + await admitted(other, 7) == 10
    bounds = (Bounds("key:2", max_concurrency=1, tokens_per_minute=100, daily_tokens=100),)
    permit = await one.admit("key:2", bounds)
    with pytest.raises(RateLimited, match="may run at once"):
        await other.admit("key:2", bounds)
    await permit.reserve(90)
    permit.settle(60, Decimal(0))
    await all_sent(servers[0]._redis)
    later = await other.admit("key:2", bounds)
    with pytest.raises(InsufficientQuota, match="40 tokens are left"):
        await later.reserve(41)
    await later.reserve(40)


async def test_while_redis_is_away_each_server_gives_out_its_share(
    servers: list[SharedStore], redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    limiters = [Limiter(1, 10, server) for server in servers]
    redis.stop()
    assert [await admitted(limiter, 20) for limiter in limiters] == [5, 5]
    with pytest.raises(RateLimited, match="1/2 of 5 requests at once, then 1 per second"):
        await limiters[0].admit("key:1")
    outage = servers[0].alone
    assert outage is not None
    assert outage.servers == 2
    assert (datetime.now(UTC) - outage.since).total_seconds() < SOON
    redis.start()
    wait_until(lambda: not any(server.alone for server in servers))
    assert sum([await admitted(limiter, 20) for limiter in limiters]) == 10
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert [line.startswith("Redis does not answer; each server gives out its share") for line in told] == [
        True, True, False, False
    ]  # fmt: skip
    assert [line.startswith("Redis answers again") for line in told] == [False, False, True, True]


async def test_a_redis_that_hangs_keeps_nobody_waiting(servers: list[SharedStore], redis: Redis) -> None:
    limiter = Limiter(1, 10, servers[0])
    assert redis.process is not None
    redis.process.send_signal(signal.SIGSTOP)
    started = time.monotonic()
    assert await admitted(limiter, 20) == 5
    assert time.monotonic() - started < PATIENCE + 1
    started = time.monotonic()
    assert await admitted(limiter, 20) == 0
    assert time.monotonic() - started < PATIENCE
    redis.process.send_signal(signal.SIGCONT)
    wait_until(lambda: servers[0].alone is None)


async def test_budgets_hold_on_while_redis_is_away(servers: list[SharedStore], redis: Redis) -> None:
    limiter, bounds = Limiter(10, 50, servers[0]), (Bounds("key:1", daily_tokens=100),)
    (await limiter.admit("key:1", bounds)).settle(60, Decimal(0))
    running = await limiter.admit("key:1", bounds)
    redis.stop()
    running.settle(40, Decimal(0))
    with pytest.raises(InsufficientQuota):
        await limiter.admit("key:1", bounds)


async def test_what_was_spent_is_asked_again_when_redis_is_back(redis: Redis) -> None:
    """It may have forgotten everything."""
    bounds, back = (Bounds("key:1", daily_tokens=100),), []
    server = SharedStore(redis.url, lambda: back.append(True))
    limiter = Limiter(10, 50, server)
    limiter.learn("key:1", "daily", datetime.now(UTC).date().isoformat(), Amount(tokens=100))
    with pytest.raises(InsufficientQuota):
        await limiter.admit("key:1", bounds)
    redis.stop()
    with pytest.raises(InsufficientQuota):
        await limiter.admit("key:1", bounds)
    assert back == []
    redis.start()
    wait_until(lambda: back == [True])
    server.stop()


async def test_a_request_that_left_while_it_was_decided_on_holds_nothing(redis: Redis) -> None:
    store = RedisStore(redis.url)
    limiter = Limiter(1000, 1000, store)
    bounds = (Bounds("key:1", max_concurrency=1, tokens_per_minute=100, daily_tokens=100),)
    for _ in range(20):
        asked = asyncio.create_task(limiter.admit("key:1", bounds))
        await asyncio.sleep(0)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        await all_sent(store)
    for _ in range(20):
        permit = await limiter.admit("key:1", bounds)
        reserved = asyncio.create_task(permit.reserve(100))
        await asyncio.sleep(0)
        reserved.cancel()
        await asyncio.gather(reserved, return_exceptions=True)
        await all_sent(store)
        permit.settle(0, Decimal(0))
    permit = await limiter.admit("key:1", bounds)
    await permit.reserve(100)
    assert len(store._places) == len(store._holds) == 1
    store.stop()


async def test_what_a_dead_server_had_running_counts_for_as_long_as_its_lease(redis: Redis) -> None:
    clock = Clock()
    alive, dead, other = (RedisStore(redis.url, clock=clock) for _ in range(3))
    bounds = (Bounds("key:1", max_concurrency=2, daily_tokens=100),)
    for store in (alive, dead):
        await (await Limiter(10, 50, store).admit("key:1", bounds)).reserve(50)
    limiter = Limiter(10, 50, other)
    clock.now += LEASE * 1000 - 1_000_000
    with pytest.raises(RateLimited):
        await limiter.admit("key:1", bounds)
    await asyncio.wrap_future(alive._line.ask(*alive._pulse()))
    clock.now += 1_000_000
    permit = await limiter.admit("key:1", bounds)
    with pytest.raises(RateLimited, match="set aside for requests that are running"):
        await permit.reserve(51)
    await permit.reserve(50)
    for store in (alive, dead, other):
        store.stop()


def test_a_line_that_is_stopped_has_sent_everything(redis: Redis) -> None:
    line = Line(redis.url, [], lambda: ("PING",), lambda _: None, lambda: None)
    for number in range(1000):
        line.ask("SET", "last", number)
    line.stop()
    assert line.ask("GET", "last").result(SOON) == b"999"
    line.stop()
