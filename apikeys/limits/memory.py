"""Decisions in this process: everything under one lock."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable

from apikeys.limits.buckets import Levels
from apikeys.limits.budgets import NOTHING, Accounts, Amount, Budget, Period
from apikeys.limits.demands import Demand, Found, Settlement

FORGET_EVERY = 1024  # decisions between two sweeps over buckets that are full again


class MemoryStore:
    """A ``Store``. Thread-safe; asks nobody. ``clock`` gives nanoseconds that never go back."""

    def __init__(self, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock = clock
        self._levels = Levels()
        self._running: Counter[str] = Counter()
        self._accounts = Accounts()
        self._until_sweep = FORGET_EVERY
        self._lock = threading.Lock()

    async def decide(self, demand: Demand) -> Found:
        with self._lock:
            now = self._clock()
            self._sweep(now)
            found = self._look(demand, now)
            if found.passed:
                self._take(demand, now)
        return found

    def leave(self, admission: Found) -> None:
        with self._lock:
            for owner, _ in admission.demand.places if admission.store is self else ():
                self._running[owner] -= 1
                if not self._running[owner]:
                    del self._running[owner]

    def settle(self, settlement: Settlement) -> None:
        """What is spent counts here too where it was decided elsewhere."""
        used, reserved = settlement.used, settlement.reserved
        with self._lock:
            if settlement.store is self:
                self._levels.take(settlement.buckets, used.tokens - reserved.tokens, self._clock())
            freed = NOTHING - reserved if settlement.store is self else NOTHING
            self._accounts.add(settlement.payers, settlement.day, spent=used, held=freed)

    def learn(self, owner: str, period: Period, day: str, spent: Amount) -> None:
        with self._lock:
            self._accounts.learn(owner, period, day, spent)
            self._accounts.forget_all_but(day)

    def __len__(self) -> int:
        """How many buckets are remembered: those that were not full at the last sweep."""
        return len(self._levels)

    def _look(self, demand: Demand, now: int) -> Found:
        missing = tuple([self._levels.missing(each, now) for each in demand.takes])
        running = tuple([self._running[owner] for owner, _ in demand.places])
        accounts = [(budget, self._accounts.of(budget, demand.day)) for budget in demand.budgets]
        spent = tuple([account.spent.of(budget.kind) for budget, account in accounts])
        held = tuple([account.held.of(budget.kind) for budget, account in accounts])
        passed = (
            all(
                not bucket.wait(parts, demand.amount)
                for (_, bucket), parts in zip(demand.takes, missing, strict=True)
            )
            and all(count < limit for (_, limit), count in zip(demand.places, running, strict=True))
            and all(_reaches(*each, demand.hold) for each in zip(demand.budgets, spent, held, strict=True))
        )
        return Found(demand, self, passed, missing, running, spent, held)

    def _take(self, demand: Demand, now: int) -> None:
        self._levels.take(demand.takes, demand.amount, now)
        self._running.update(owner for owner, _ in demand.places)
        if demand.hold is not None:
            payers = tuple(dict.fromkeys(budget.owner for budget in demand.budgets))
            self._accounts.add(payers, demand.day, spent=NOTHING, held=demand.hold)

    def _sweep(self, now: int) -> None:
        """Forgetting full buckets keeps memory to the owners of the moment."""
        self._until_sweep -= 1
        if self._until_sweep <= 0:
            self._levels.forget_full(now)
            self._until_sweep = max(FORGET_EVERY, len(self._levels))


def _reaches(budget: Budget, spent: int, held: int, hold: Amount | None) -> bool:
    return spent < budget.limit if hold is None else spent + held + hold.of(budget.kind) <= budget.limit
