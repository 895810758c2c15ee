"""The limits of keys, projects and people, to the nanosecond, on both stores."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apikeys.bounds import Bounds
from apikeys.errors import InsufficientQuota, RateLimited, ServiceError, TokensLimited
from apikeys.limits import Limiter, Permit
from apikeys.limits.buckets import MILLISECOND, SECOND
from apikeys.limits.budgets import Amount
from apikeys.limits.spending import Reader, usage_of
from apikeys.usage.event import UsageEvent
from apikeys.usage.rollups import roll_up
from apikeys.usage.totals import Totals
from console.models import User
from tests.apikeys.conftest import NOON, make_event
from tests.apikeys.limits.conftest import NewStore

FREE = Decimal(0)


class Stage:
    """A limiter and its time."""

    def __init__(self, new_store: NewStore) -> None:
        self.now = 5 * SECOND
        self.today = NOON
        self.limiter = Limiter(1000, 10_000, new_store(lambda: self.now), lambda: self.today)

    async def admit(self, *bounds: Bounds, owner: str = "key:1") -> Permit:
        return await self.limiter.admit(owner, bounds)

    async def refused(self, *bounds: Bounds) -> ServiceError:
        with pytest.raises((RateLimited, InsufficientQuota)) as caught:
            await self.admit(*bounds)
        return caught.value

    async def spend(self, *bounds: Bounds, tokens: int = 0, cost: Decimal = FREE) -> None:
        (await self.admit(*bounds)).settle(tokens, cost)


@pytest.fixture
def stage(new_store: NewStore) -> Stage:
    return Stage(new_store)


async def refused(permit: Permit, tokens: int, cost: Decimal = FREE) -> ServiceError:
    with pytest.raises((RateLimited, InsufficientQuota)) as caught:
        await permit.reserve(tokens, cost)
    return caught.value


def wait_of(error: ServiceError) -> int:
    return int(error.headers["retry-after-ms"]) * MILLISECOND


@pytest.mark.parametrize("limit", [1, 7, 60, 999])
async def test_requests_per_minute_come_back_when_the_refusal_said_and_not_50_ms_earlier(
    stage: Stage, limit: int
) -> None:
    bounds = Bounds("key:1", requests_per_minute=limit)
    for _ in range(limit):
        await stage.admit(bounds)
    stage.now += 1_234_567
    error = await stage.refused(bounds)
    assert (error.status, error.code) == (429, "rate_limit_exceeded")
    assert f"{limit} requests per minute for this API key" in error.message
    assert error.headers["x-ratelimit-limit-requests"] == str(limit)
    assert error.headers["x-ratelimit-remaining-requests"] == "0"
    stage.now += wait_of(error) - 50 * MILLISECOND
    await stage.refused(bounds)
    stage.now += 50 * MILLISECOND
    await stage.admit(bounds)


async def test_headers_tell_of_the_limit_that_is_nearest(stage: Stage) -> None:
    project, key = Bounds("project:1", requests_per_minute=3), Bounds("key:1", requests_per_minute=5)
    headers = (await stage.admit(key, project)).headers
    assert headers["x-ratelimit-limit-requests"] == "3"
    assert headers["x-ratelimit-remaining-requests"] == "2"
    assert headers["x-ratelimit-reset-requests"] == "20s"


async def test_a_refusal_by_one_bound_takes_nothing_from_the_others(stage: Stage) -> None:
    key = Bounds("key:1", requests_per_minute=10, max_concurrency=2)
    project = Bounds("project:1", requests_per_minute=1)
    (await stage.admit(key, project)).release()
    for _ in range(20):
        await stage.refused(key, project)
    left = [(await stage.admit(key)).headers["x-ratelimit-remaining-requests"] for _ in range(2)]
    assert left == ["8", "7"]
    for _ in range(20):
        assert "2 requests of this API key may run at once" in (await stage.refused(key)).message
    assert (await stage.admit(Bounds("key:1", requests_per_minute=10))).headers[
        "x-ratelimit-remaining-requests"
    ] == "6"  # fmt: skip


async def test_owners_share_the_bounds_of_their_project(stage: Stage) -> None:
    project = Bounds("project:1", requests_per_minute=2)
    await stage.admit(project, owner="key:1")
    await stage.admit(project, owner="key:2")
    assert "for this project" in (await stage.refused(project)).message


async def test_a_place_is_free_again_once_released(stage: Stage) -> None:
    bounds = Bounds("user:1", max_concurrency=2)
    one, _ = await stage.admit(bounds), await stage.admit(bounds)
    error = await stage.refused(bounds)
    assert (error.status, error.code, error.headers["Retry-After"]) == (429, "rate_limit_exceeded", "1")
    one.release()
    one.release()
    one.settle(1, FREE)
    await stage.admit(bounds)
    await stage.refused(bounds)


def test_threads_together_get_exactly_the_limit(new_store: NewStore) -> None:
    limiter = Limiter(1000, 10_000, new_store(lambda: SECOND))
    bounds = (Bounds("key:1", requests_per_minute=100), Bounds("project:1", max_concurrency=70))
    barrier = threading.Barrier(4)

    async def hammer() -> int:
        asked = [limiter.admit("key:1", bounds) for _ in range(50)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert all(isinstance(answer, Permit | RateLimited) for answer in answers)
        return sum(isinstance(answer, Permit) for answer in answers)

    def on_a_loop_of_its_own(_: int) -> int:
        barrier.wait()
        return asyncio.run(hammer())

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(on_a_loop_of_its_own, range(4))) == 70


async def test_tokens_per_minute_come_back_when_the_refusal_said_and_not_50_ms_earlier(stage: Stage) -> None:
    bounds = Bounds("key:1", tokens_per_minute=1000)
    first, second = await stage.admit(bounds), await stage.admit(bounds)
    await first.reserve(700)
    assert first.headers["x-ratelimit-limit-tokens"] == "1000"
    assert first.headers["x-ratelimit-remaining-tokens"] == "300"
    assert first.headers["x-ratelimit-reset-tokens"] == "42s"
    error = await refused(second, 400)
    assert isinstance(error, TokensLimited)
    assert (error.code, error.type) == ("rate_limit_exceeded", "tokens")
    assert error.headers["x-ratelimit-remaining-tokens"] == "300"
    assert (error.headers["x-ratelimit-reset-tokens"], error.headers["Retry-After"]) == ("6s", "6")
    stage.now += wait_of(error) - 50 * MILLISECOND
    await refused(second, 400)
    stage.now += 50 * MILLISECOND
    await second.reserve(400)


async def test_settling_gives_back_what_was_not_used_once(stage: Stage) -> None:
    bounds = Bounds("key:1", tokens_per_minute=1000)
    permit = await stage.admit(bounds)
    await permit.reserve(900)
    await permit.reserve(900)
    for _ in range(3):
        permit.settle(100, FREE)
    later = await stage.admit(bounds)
    await refused(later, 901)
    await later.reserve(900)


async def test_a_request_that_no_wait_can_help_is_told_so(stage: Stage) -> None:
    permit = await stage.admit(Bounds("key:1", tokens_per_minute=1000))
    error = await refused(permit, 1001)
    assert "Request too large: 1000 tokens per minute" in error.message
    assert error.headers["x-should-retry"] == "false"
    assert "retry-after-ms" not in error.headers
    await permit.reserve(1000)


async def test_tokens_refused_by_one_bound_are_not_taken_from_the_others(stage: Stage) -> None:
    key, project = Bounds("key:1", tokens_per_minute=100), Bounds("project:1", tokens_per_minute=50)
    user = Bounds("user:1", daily_tokens=100)
    await (await stage.admit(project)).reserve(20)
    for _ in range(5):
        await refused(await stage.admit(key, project, user), 40)
    await (await stage.admit(key, user)).reserve(100)


@pytest.mark.parametrize("period", ["daily", "monthly"])
async def test_a_spent_budget_of_tokens_refuses_until_its_period_ends(stage: Stage, period: Any) -> None:
    limit: dict[str, Any] = {f"{period}_tokens": 100}
    bounds = Bounds("project:1", **limit)
    await stage.spend(bounds, tokens=99)
    await stage.spend(bounds, tokens=1)
    error = await stage.refused(bounds)
    assert isinstance(error, InsufficientQuota)
    assert (error.status, error.code, error.type) == (429, "insufficient_quota", "insufficient_quota")
    assert error.headers == {"x-should-retry": "false"}
    assert f"The {period} budget of this project is spent: 100 tokens of 100 tokens" in error.message
    await stage.limiter.admit("key:1", (bounds,), spends=False)
    stage.today = NOON.replace(hour=23, minute=59)
    await stage.refused(bounds)
    stage.today = NOON + (timedelta(hours=12) if period == "daily" else timedelta(days=12))
    await stage.admit(bounds)


async def test_a_budget_of_money_is_exact(stage: Stage) -> None:
    bounds = Bounds("key:1", daily_money=Decimal("0.5"))
    await stage.spend(bounds, cost=Decimal("0.499999999"))
    permit = await stage.admit(bounds)
    assert (await refused(permit, 10, Decimal("0.000000002"))).code == "insufficient_quota"
    await permit.reserve(10, Decimal("0.000000001"))
    permit.settle(10, Decimal("0.000000001"))
    assert (await stage.refused(bounds)).code == "insufficient_quota"


async def test_what_running_requests_hold_is_only_in_the_way_for_a_while(stage: Stage) -> None:
    bounds = Bounds("key:1", daily_tokens=100)
    one, other = await stage.admit(bounds), await stage.admit(bounds)
    await one.reserve(80)
    assert (await refused(other, 30)).code == "rate_limit_exceeded"
    assert (await refused(other, 101)).code == "insufficient_quota"
    one.settle(10, FREE)
    await other.reserve(30)


async def test_what_is_read_from_the_database_never_takes_back_what_was_counted(stage: Stage) -> None:
    bounds = Bounds("key:1", daily_tokens=100)
    await stage.spend(bounds, tokens=60)
    stage.limiter.learn("key:1", "daily", "2026-05-20", Amount(tokens=40))
    await refused(await stage.admit(bounds), 41)
    stage.limiter.learn("key:1", "daily", "2026-05-20", Amount(tokens=100))
    assert (await stage.refused(bounds)).code == "insufficient_quota"


async def test_budgets_are_read_once_and_again_for_what_others_spend(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.today = datetime.now(UTC)
    bounds, spent, asked = (Bounds("key:1", daily_tokens=100),), [99], threading.Semaphore(0)

    def ask(owner: str, period: str, now: datetime) -> Totals:
        asked.release()
        return Totals(prompt_tokens=spent[0])

    reader = Reader(stage.limiter, ask)
    await reader.look_after((Bounds("key:1", tokens_per_minute=5),))
    assert not asked.acquire(blocking=False)
    await asyncio.gather(*(reader.look_after(bounds) for _ in range(5)))
    assert [asked.acquire(blocking=False) for _ in range(3)] == [True, True, False]
    (await stage.admit(*bounds)).release()
    spent[0] = 100
    monkeypatch.setattr("apikeys.limits.spending.READ_EVERY", 0)
    await reader.look_after(bounds)
    reader._pool.shutdown(wait=True)
    assert (await stage.refused(*bounds)).code == "insufficient_quota"


async def test_without_a_database_budgets_go_by_what_was_spent_here(stage: Stage) -> None:
    def ask(*_: object) -> Totals:
        raise OSError("away")

    bounds = Bounds("key:1", daily_tokens=100)
    await Reader(stage.limiter, ask).look_after((bounds,))
    await stage.spend(bounds, tokens=100)
    await stage.refused(bounds)


@pytest.mark.parametrize("owner", ["key:7", "project:8", "user:{}"])
def test_what_the_database_says_is_records_and_rollups(
    owner: str, user: User, recorded: Callable[..., list[UsageEvent]]
) -> None:
    def use(at: datetime, **others: int) -> None:
        whose = {"user_id": user.pk, "key_id": 7, "project_id": 8, **others}
        recorded(make_event(started_at=at, **whose))

    use(NOON)
    use(NOON - timedelta(days=1))
    roll_up(100)
    use(NOON)
    use(NOON - timedelta(days=30))
    use(NOON, user_id=user.pk + 1, key_id=9, project_id=9)
    owner = owner.format(user.pk)
    day, month = usage_of(owner, "daily", NOON), usage_of(owner, "monthly", NOON)
    assert (day.requests, day.prompt_tokens, day.cost_nanos) == (2, 20, 3000)
    assert (month.requests, month.completion_tokens, month.cost_nanos) == (3, 60, 4500)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 60), st.integers(0, 5000)), max_size=40))
def test_no_order_of_requests_gets_more_tokens_than_the_rate_allows(
    new_store: NewStore, steps: list[tuple[int, int, int]]
) -> None:
    asyncio.run(_use(Stage(new_store), steps))


async def _use(stage: Stage, steps: list[tuple[int, int, int]]) -> None:
    """What was used, and what is reserved, never exceeds a full bucket and what has come back since."""
    bounds = Bounds("key:1", tokens_per_minute=60, monthly_tokens=500)
    start, total = stage.now, 0
    for most, used, pause in steps:
        try:
            permit = await stage.admit(bounds)
            await permit.reserve(most)
        except (RateLimited, InsufficientQuota):
            continue
        finally:
            stage.now += pause * MILLISECOND
        used = min(most, used)
        permit.settle(used, FREE)
        total += used
        assert total * SECOND <= 60 * SECOND + (stage.now - start)
        assert total <= 500
