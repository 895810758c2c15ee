from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from apikeys.auth import Caller
from apikeys.errors import RateLimited
from apikeys.limits import Limiter, Permit, admit
from apikeys.limits.buckets import MILLISECOND, SECOND
from apikeys.limits.limiter import FORGET_EVERY
from apikeys.limits.words import format_duration


class Clock:
    def __init__(self) -> None:
        self.now = 5 * SECOND

    def __call__(self) -> int:
        return self.now


def drain(limiter: Limiter, owner: str = "key:1") -> int:
    """Asks until refused; how often it was admitted."""
    admitted = 0
    while not isinstance(ask(limiter, owner), RateLimited):
        admitted += 1
    return admitted


def ask(limiter: Limiter, owner: str = "key:1") -> Permit | RateLimited:
    try:
        return limiter.admit(owner)
    except RateLimited as refusal:
        return refusal


def milliseconds(duration: str) -> int:
    return int(duration.removesuffix("ms")) if duration.endswith("ms") else int(duration[:-1]) * 1000


@pytest.mark.parametrize(("rate", "burst"), [(10, 50), (1, 1), (3, 7), (1000, 20)])
def test_a_full_bucket_admits_the_burst_and_then_the_rate(rate: int, burst: int) -> None:
    clock = Clock()
    limiter = Limiter(rate, burst, clock)
    assert drain(limiter) == burst
    admitted = 0
    for _ in range(20 * 1000):  # ten seconds, asking every half millisecond
        clock.now += MILLISECOND // 2
        admitted += not isinstance(ask(limiter), RateLimited)
    assert 10 * rate - 1 <= admitted <= 10 * rate


def test_a_bucket_never_holds_more_than_the_burst() -> None:
    clock = Clock()
    limiter = Limiter(10, 50, clock)
    drain(limiter)
    clock.now += 3600 * SECOND
    assert drain(limiter) == 50


def test_owners_do_not_share_a_bucket() -> None:
    limiter = Limiter(10, 5, Clock())
    assert drain(limiter, "key:1") == 5
    assert drain(limiter, "user:1") == 5


@pytest.mark.parametrize(("rate", "burst"), [(10, 50), (1, 5), (3, 7)])
@pytest.mark.parametrize("header", ["retry-after-ms", "x-ratelimit-reset-requests"])
def test_the_call_passes_when_the_refusal_said_and_not_50_ms_earlier(
    rate: int, burst: int, header: str
) -> None:
    clock = Clock()
    limiter = Limiter(rate, burst, clock)
    drain(limiter)
    clock.now += 1_234_567  # nobody asks at a round moment
    refusal = ask(limiter)
    assert isinstance(refusal, RateLimited)
    wait = milliseconds(refusal.headers[header].removesuffix("ms") + "ms")
    clock.now += (wait - 50) * MILLISECOND
    assert isinstance(ask(limiter), RateLimited)
    clock.now += 50 * MILLISECOND
    assert isinstance(ask(limiter), Permit)


def test_retry_after_is_the_same_wait_in_whole_seconds() -> None:
    clock = Clock()
    limiter = Limiter(1, 1, clock)
    limiter.admit("key:1")
    refusal = ask(limiter)
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
    refusal = ask(limiter)
    assert isinstance(refusal, RateLimited)
    assert (refusal.headers["Retry-After"], refusal.headers["retry-after-ms"]) == ("1", "1000")


def test_a_refusal_states_the_limit_as_it_was_set() -> None:
    limiter = Limiter(3, 7, Clock())
    drain(limiter)
    refusal = ask(limiter)
    assert isinstance(refusal, RateLimited)
    assert "7 requests at once, then 3 per second" in refusal.message


def test_a_refused_call_costs_nothing() -> None:
    clock = Clock()
    limiter = Limiter(10, 1, clock)
    limiter.admit("key:1")
    for _ in range(1000):
        assert isinstance(ask(limiter), RateLimited)
    clock.now += SECOND // 10
    assert isinstance(ask(limiter), Permit)


def test_remaining_says_how_many_calls_still_pass() -> None:
    clock = Clock()
    limiter = Limiter(10, 50, clock)
    clock.now += 77
    permits = [limiter.admit("key:1") for _ in range(50)]
    assert [int(permit.headers["x-ratelimit-remaining-requests"]) for permit in permits] == list(
        range(49, -1, -1)
    )
    clock.now += 250 * MILLISECOND  # two and a half calls come back
    assert limiter.admit("key:1").headers == {
        "x-ratelimit-limit-requests": "50",
        "x-ratelimit-remaining-requests": "1",
        "x-ratelimit-reset-requests": "50ms",
    }


def test_remaining_grows_when_the_reset_says() -> None:
    clock = Clock()
    limiter = Limiter(10, 50, clock)
    for _ in range(50):
        headers = limiter.admit("key:1").headers
    assert headers["x-ratelimit-reset-requests"] == "100ms"
    clock.now += 100 * MILLISECOND - 1
    assert isinstance(ask(limiter), RateLimited)
    clock.now += 1
    assert isinstance(ask(limiter), Permit)


def test_threads_together_get_exactly_the_burst() -> None:
    limiter = Limiter(1, 200, Clock())
    barrier = threading.Barrier(8)

    def hammer(_: int) -> int:
        barrier.wait()
        return sum(not isinstance(ask(limiter), RateLimited) for _ in range(100))

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(hammer, range(8))) == 200


def test_full_buckets_are_forgotten_and_others_are_not() -> None:
    clock = Clock()
    limiter = Limiter(10, 50, clock)
    for number in range(10_000):
        limiter.admit(f"key:{number}")
        clock.now += 10 * MILLISECOND  # ten are not yet full again at any moment
    assert len(limiter) <= FORGET_EVERY + 11
    drain(limiter, "key:busy")
    for number in range(2 * FORGET_EVERY):
        limiter.admit(f"key:{number}")
    assert isinstance(ask(limiter, "key:busy"), RateLimited)


def test_a_permit_counts_as_in_flight_until_released_once() -> None:
    limiter = Limiter(10, 50, Clock())
    one, other = limiter.admit("key:1"), limiter.admit("key:1")
    assert limiter.in_flight == 2
    one.release()
    one.release()
    assert limiter.in_flight == 1
    other.release()
    assert limiter.in_flight == 0


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
