from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from apikeys.auth import Caller
from apikeys.errors import RateLimited
from apikeys.limits import Limiter, Permit, admit
from apikeys.limits.buckets import MILLISECOND, SECOND
from apikeys.limits.memory import FORGET_EVERY, MemoryStore
from apikeys.limits.words import format_duration
from tests.apikeys.limits.conftest import Clock, NewStore


async def drain(limiter: Limiter, owner: str = "key:1") -> int:
    """Asks until refused; how often it was admitted."""
    admitted = 0
    while not isinstance(await ask(limiter, owner), RateLimited):
        admitted += 1
    return admitted


async def ask(limiter: Limiter, owner: str = "key:1") -> Permit | RateLimited:
    try:
        return await limiter.admit(owner)
    except RateLimited as refusal:
        return refusal


def milliseconds(duration: str) -> int:
    return int(duration.removesuffix("ms")) if duration.endswith("ms") else int(duration[:-1]) * 1000


@pytest.mark.parametrize(("rate", "burst"), [(10, 50), (1, 1), (3, 7), (1000, 20)])
async def test_a_full_bucket_admits_the_burst_and_then_the_rate(
    rate: int, burst: int, new_store: NewStore
) -> None:
    clock = Clock()
    limiter = Limiter(rate, burst, new_store(clock))
    assert await drain(limiter) == burst
    admitted = 0
    for _ in range(2000):  # one second, asking every half millisecond
        clock.now += MILLISECOND // 2
        admitted += not isinstance(await ask(limiter), RateLimited)
    assert rate - 1 <= admitted <= rate


async def test_a_bucket_never_holds_more_than_the_burst(new_store: NewStore) -> None:
    clock = Clock()
    limiter = Limiter(10, 50, new_store(clock))
    await drain(limiter)
    clock.now += 3600 * SECOND
    assert await drain(limiter) == 50


async def test_owners_do_not_share_a_bucket(new_store: NewStore) -> None:
    limiter = Limiter(10, 5, new_store(Clock()))
    assert await drain(limiter, "key:1") == 5
    assert await drain(limiter, "user:1") == 5


@pytest.mark.parametrize(("rate", "burst"), [(10, 50), (1, 5), (3, 7)])
@pytest.mark.parametrize("header", ["retry-after-ms", "x-ratelimit-reset-requests"])
async def test_the_call_passes_when_the_refusal_said_and_not_50_ms_earlier(
    rate: int, burst: int, header: str, new_store: NewStore
) -> None:
    clock = Clock()
    limiter = Limiter(rate, burst, new_store(clock))
    await drain(limiter)
    clock.now += 1_234_567  # nobody asks at a round moment
    refusal = await ask(limiter)
    assert isinstance(refusal, RateLimited)
    wait = milliseconds(refusal.headers[header].removesuffix("ms") + "ms")
    clock.now += (wait - 50) * MILLISECOND
    assert isinstance(await ask(limiter), RateLimited)
    clock.now += 50 * MILLISECOND
    assert isinstance(await ask(limiter), Permit)


async def test_retry_after_is_the_same_wait_in_whole_seconds(new_store: NewStore) -> None:
    clock = Clock()
    limiter = Limiter(1, 1, new_store(clock))
    await limiter.admit("key:1")
    refusal = await ask(limiter)
    assert isinstance(refusal, RateLimited)
    assert refusal.headers == {
        "x-ratelimit-limit-requests": "1",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "1s",
        "Retry-After": "1",
        "retry-after-ms": "1000",
    }
    assert (refusal.status, refusal.code) == (429, "rate_limit_exceeded")
    clock.now += 1
    refusal = await ask(limiter)
    assert isinstance(refusal, RateLimited)
    assert (refusal.headers["Retry-After"], refusal.headers["retry-after-ms"]) == ("1", "1000")


async def test_a_refusal_states_the_limit_as_it_was_set(new_store: NewStore) -> None:
    limiter = Limiter(3, 7, new_store(Clock()))
    await drain(limiter)
    refusal = await ask(limiter)
    assert isinstance(refusal, RateLimited)
    assert "7 requests at once, then 3 per second" in refusal.message


async def test_a_refused_call_costs_nothing(new_store: NewStore) -> None:
    clock = Clock()
    limiter = Limiter(10, 1, new_store(clock))
    await limiter.admit("key:1")
    for _ in range(1000):
        assert isinstance(await ask(limiter), RateLimited)
    clock.now += SECOND // 10
    assert isinstance(await ask(limiter), Permit)


async def test_remaining_says_how_many_calls_still_pass(new_store: NewStore) -> None:
    clock = Clock()
    limiter = Limiter(10, 50, new_store(clock))
    clock.now += 77
    permits = [await limiter.admit("key:1") for _ in range(50)]
    assert [int(permit.headers["x-ratelimit-remaining-requests"]) for permit in permits] == list(
        range(49, -1, -1)
    )
    clock.now += 250 * MILLISECOND  # two and a half calls come back
    assert (await limiter.admit("key:1")).headers == {
        "x-ratelimit-limit-requests": "50",
        "x-ratelimit-remaining-requests": "1",
        "x-ratelimit-reset-requests": "50ms",
    }


async def test_remaining_grows_when_the_reset_says(new_store: NewStore) -> None:
    clock = Clock()
    limiter = Limiter(10, 50, new_store(clock))
    for _ in range(50):
        headers = (await limiter.admit("key:1")).headers
    assert headers["x-ratelimit-reset-requests"] == "100ms"
    clock.now += 100 * MILLISECOND - 1
    assert isinstance(await ask(limiter), RateLimited)
    clock.now += 1
    assert isinstance(await ask(limiter), Permit)


def test_threads_together_get_exactly_the_burst(new_store: NewStore) -> None:
    limiter = Limiter(1, 200, new_store(Clock()))
    barrier = threading.Barrier(8)

    def hammer(_: int) -> int:
        barrier.wait()
        return asyncio.run(_admitted(limiter, 100))

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(hammer, range(8))) == 200


async def _admitted(limiter: Limiter, tries: int) -> int:
    answers = await asyncio.gather(*(ask(limiter) for _ in range(tries)))
    return sum(isinstance(answer, Permit) for answer in answers)


async def test_full_buckets_are_forgotten_and_others_are_not() -> None:
    clock = Clock()
    store = MemoryStore(clock)
    limiter = Limiter(10, 50, store)
    for number in range(10_000):
        await limiter.admit(f"key:{number}")
        clock.now += 10 * MILLISECOND  # ten are not yet full again at any moment
    assert len(store) <= FORGET_EVERY + 11
    await drain(limiter, "key:busy")
    for number in range(2 * FORGET_EVERY):
        await limiter.admit(f"key:{number}")
    assert isinstance(await ask(limiter, "key:busy"), RateLimited)


async def test_admit_goes_by_the_owner_of_the_caller() -> None:
    caller = Caller(user_id=901, key_id=901, source="api", project_id=901)
    with pytest.raises(RateLimited):
        await admit_many(caller, 100)
    await admit_many(Caller(user_id=901, key_id=902, source="api", project_id=901), 50)


async def admit_many(caller: Caller, count: int) -> None:
    for _ in range(count):
        (await admit(caller)).release()


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0ms"),
        (1, "1ms"),
        (12 * MILLISECOND, "12ms"),
        (12 * MILLISECOND + 1, "13ms"),
        (999 * MILLISECOND + 1, "1s"),
        (1500 * MILLISECOND, "1.5s"),
        (1050 * MILLISECOND, "1.05s"),
        (59_999_999_999, "1m0s"),
        (360 * SECOND, "6m0s"),
        (3600 * SECOND, "1h0m0s"),
        (3661 * SECOND, "1h1m1s"),
    ],
)
def test_durations_are_written_as_openai_writes_them(nanoseconds: int, text: str) -> None:
    assert format_duration(nanoseconds) == text
