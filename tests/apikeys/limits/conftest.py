"""Each test of a limiter runs on both stores; time stands still on both unless the test moves it."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from apikeys.limits.buckets import SECOND
from apikeys.limits.demands import Store
from apikeys.limits.memory import MemoryStore
from apikeys.limits.shared.store import RedisStore

_numbers = itertools.count()


@dataclass
class Clock:
    now: int = 5 * SECOND

    def __call__(self) -> int:
        return self.now


NewStore = Callable[[Callable[[], int]], Store]


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.services)])
def new_store(request: pytest.FixtureRequest) -> Iterator[NewStore]:
    """Makes empty stores that go by a clock."""
    if request.param == "memory":
        yield MemoryStore
        return
    made: list[RedisStore] = []

    def make(clock: Callable[[], int]) -> RedisStore:
        prefix = f"tests-{os.getpid()}-{next(_numbers)}:"
        made.append(RedisStore(os.environ["REDIS_URL"], prefix=prefix, clock=clock))
        return made[-1]

    yield make
    for store in made:
        store.stop()
