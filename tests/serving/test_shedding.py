"""While a model is overloaded the lowest tier is turned away first, and nobody for a crowd of a moment."""

from __future__ import annotations

from typing import Any

import pytest

from apikeys.auth import Caller
from apikeys.models import Tier
from serving import shedding
from serving.engine.stats import EngineStats
from serving.errors import EngineOverloaded
from serving.shedding import Load


class Busy:
    """A backend with so many waiting, of 100 that may."""

    def __init__(self, waiting: int) -> None:
        self._stats = stats(waiting, 7.2)

    def health(self) -> EngineStats:
        return self._stats


def stats(waiting: int, wait: float = 0.0) -> EngineStats:
    told: Any = dict.fromkeys(EngineStats.__slots__, 0)
    return EngineStats(**{**told, "waiting": waiting, "max_waiting": 100, "predicted_wait_seconds": wait})


def caller(tier: Tier = "normal", **changes: Any) -> Caller:
    return Caller(**{"user_id": 1, "key_id": 1, "source": "api", "project_id": 1, "tier": tier, **changes})


def refused(backend: Any) -> list[Tier]:
    tiers: list[Tier] = ["low", "normal", "high"]
    return [tier for tier in tiers if not passes(caller(tier), backend)]


def passes(who: Caller, backend: Any) -> bool:
    try:
        shedding.check(who, backend)
    except EngineOverloaded:
        return False
    return True


@pytest.mark.parametrize(
    ("waiting", "without"),
    [(0, []), (24, []), (25, ["low"]), (74, ["low"]), (75, ["low", "normal"]), (99, ["low", "normal"])],
)
def test_the_lowest_tier_goes_first(waiting: int, without: list[Tier]) -> None:
    assert refused(Busy(waiting)) == without


def test_lines_of_a_batch_count_as_low() -> None:
    assert not passes(caller("high", source="batch"), Busy(25))


def test_the_refusal_says_when_to_come_again() -> None:
    with pytest.raises(EngineOverloaded) as caught:
        shedding.check(caller("low"), Busy(25))  # type: ignore[arg-type]
    error = caught.value
    assert (error.status, error.code) == (503, "engine_overloaded")
    assert error.headers == {"Retry-After": "8", "retry-after-ms": "7200"}
    assert "'low'" in error.message


def test_a_crowd_of_a_moment_turns_nobody_away_and_a_lasting_one_does() -> None:
    now = 0.0
    load = Load(lambda: now)
    for _ in range(20):
        now += 0.5
        load.look(stats(0))
    assert load.look(stats(90)) < shedding.BEARS["low"]
    for _ in range(20):
        now += 0.5
        worst = load.look(stats(90))
    assert worst == 0.9


def test_a_crowd_that_has_left_turns_nobody_away() -> None:
    now = 0.0
    load = Load(lambda: now)
    for _ in range(20):
        now += 0.5
        load.look(stats(90))
    assert load.look(stats(0)) == 0
