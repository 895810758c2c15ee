"""What one decision is about, wherever it is made: all that a request asks for, what was found, and what
became of it. Knows no Django."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Protocol

from apikeys.bounds import Bounds
from apikeys.limits.buckets import Owned
from apikeys.limits.budgets import Amount, Budget, Period

Place = tuple[str, int]  # an owner, and how many requests of it may run at once


@dataclass(frozen=True, slots=True)
class Demand:
    """``amount`` is taken out of each bucket of ``takes``, one of each of ``places``, and ``hold`` is set
    aside in each budget. Without ``hold`` it is only asked whether budgets are spent."""

    permit: str
    takes: tuple[Owned, ...] = ()
    amount: int = 1
    places: tuple[Place, ...] = ()
    budgets: tuple[Budget, ...] = ()
    day: str = ""
    hold: Amount | None = None

    def share_of(self, servers: int) -> Demand:
        """What one of so many servers may decide by itself. Budgets stay whole: what the others spend comes
        to light through the database."""
        takes = tuple((owner, bucket.share_of(servers)) for owner, bucket in self.takes)
        places = tuple((owner, max(1, limit // servers)) for owner, limit in self.places)
        return replace(self, takes=takes, places=places)


@dataclass(frozen=True, slots=True)
class Found:
    """What ``store`` found before it took anything: of each bucket the parts that are missing, of each place
    how many run, of each budget what is spent and what is held. ``demand``: as it was decided."""

    demand: Demand
    store: Store
    passed: bool
    missing: tuple[int, ...] = ()
    running: tuple[int, ...] = ()
    spent: tuple[int, ...] = ()
    held: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a permit used: spent by ``payers`` on ``day``. ``reserved`` was taken out of ``buckets``, and is
    held, in ``store``."""

    permit: str
    day: str
    payers: tuple[str, ...]
    used: Amount
    buckets: tuple[Owned, ...]
    reserved: Amount
    store: Store


class Store(Protocol):
    """Where it is counted. ``leave``, ``settle`` and ``learn`` may be called from any thread, and wait for
    nothing."""

    async def decide(self, demand: Demand) -> Found:
        """All of it is taken, or none. For the event loop."""

    def leave(self, admission: Found) -> None:
        """The request runs no more: its places are free."""

    def settle(self, settlement: Settlement) -> None: ...

    def learn(self, owner: str, period: Period, day: str, spent: Amount) -> None:
        """That ``owner`` has spent at least so much in the day, or in the month of that day."""


@lru_cache(4096)
def places_of(bounds: tuple[Bounds, ...]) -> tuple[Place, ...]:
    return tuple((each.owner, each.max_concurrency) for each in bounds if each.max_concurrency is not None)
