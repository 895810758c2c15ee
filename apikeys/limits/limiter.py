"""The decision: all that binds a caller is looked at under one lock, then all of it is taken or nothing."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from apikeys.bounds import Bounds
from apikeys.limits import words
from apikeys.limits.buckets import SECOND, Bucket, Levels, Owned, buckets_of
from apikeys.limits.budgets import NOTHING, Accounts, Amount, Period, budgets_of, day_of, payers_of
from apikeys.limits.permits import Permit

FORGET_EVERY = 1024  # admissions between two sweeps over buckets that are full again


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Limiter:
    """Admits ``rate`` requests per second and owner, and ``burst`` at once, within the bounds of the caller.
    Thread-safe; asks nobody.

    ``clock`` gives nanoseconds that never go back, ``today`` the moment that budgets go by.
    """

    def __init__(
        self,
        rate: int,
        burst: int,
        clock: Callable[[], int] = time.monotonic_ns,
        today: Callable[[], datetime] = _utc_now,
    ) -> None:
        self.in_flight = 0
        self._everybody = Bucket("requests", rate, SECOND, burst)
        self._clock = clock
        self._today = today
        self._levels = Levels()
        self._running: Counter[str] = Counter()
        self._accounts = Accounts()
        self._until_sweep = FORGET_EVERY
        self._lock = threading.Lock()

    def admit(
        self, owner: str, bounds: tuple[Bounds, ...] = (), *, spends: bool = True, paced: bool = True
    ) -> Permit:
        """Takes one request out of the buckets of ``owner`` and of ``bounds``, unless not ``paced``, and
        a place among what may run at once. Raises ``RateLimited``, and ``InsufficientQuota`` if it ``spends``
        of a budget that is spent."""
        day = day_of(self._today()) if bounds else ""
        owned: tuple[Owned, ...] = ((owner, self._everybody),) if paced else ()
        if bounds and paced:
            owned += buckets_of(bounds, "requests")
        with self._lock:
            now = self._clock()
            self._sweep(now)
            if spends and bounds:
                self._check_spent(bounds, day)
            self._check_buckets(owned, 1, now)
            self._check_running(bounds)
            self._levels.take(owned, 1, now)
            self._running.update(each.owner for each in bounds if each.max_concurrency is not None)
            self.in_flight += 1
            missing = [self._levels.missing(each, now) for each in owned]
        return Permit(self, words.headers_of(owned, missing) if owned else {}, bounds, day)

    def reserve(self, permit: Permit, most: Amount) -> None:
        """Raises as ``Permit.reserve``."""
        owned = buckets_of(permit.bounds, "tokens")
        with self._lock:
            if permit.settled or permit.reserved != NOTHING:
                return
            now = self._clock()
            self._check_left(permit, most)
            self._check_buckets(owned, most.tokens, now)
            self._levels.take(owned, most.tokens, now)
            self._accounts.add(payers_of(permit.bounds), permit.day, spent=NOTHING, held=most)
            permit.reserved = most
            missing = [self._levels.missing(each, now) for each in owned]
        if owned:
            permit.headers.update(words.headers_of(owned, missing))

    def settle(self, permit: Permit, used: Amount) -> None:
        owned = buckets_of(permit.bounds, "tokens")
        with self._lock:
            if permit.settled:
                return
            permit.settled = True
            self._levels.take(owned, used.tokens - permit.reserved.tokens, self._clock())
            freed = NOTHING - permit.reserved
            self._accounts.add(payers_of(permit.bounds), permit.day, spent=used, held=freed)

    def end(self, permit: Permit) -> None:
        with self._lock:
            if not permit.open:
                return
            permit.open = False
            self.in_flight -= 1
            for each in permit.bounds:
                if each.owner in self._running:
                    self._running[each.owner] -= each.max_concurrency is not None
                    if not self._running[each.owner]:
                        del self._running[each.owner]

    def learn(self, owner: str, period: Period, day: str, spent: Amount) -> None:
        """That ``owner`` has spent at least so much in the day, or in the month of that day."""
        with self._lock:
            self._accounts.learn(owner, period, day, spent)
            self._accounts.forget_all_but(day_of(self._today()))

    def __len__(self) -> int:
        """How many buckets are remembered: those that were not full at the last sweep."""
        return len(self._levels)

    def _check_spent(self, bounds: tuple[Bounds, ...], day: str) -> None:
        for budget in budgets_of(bounds):
            used = self._accounts.of(budget, day).spent.of(budget.kind)
            if used >= budget.limit:
                raise words.spent(budget, used)

    def _check_left(self, permit: Permit, most: Amount) -> None:
        for budget in budgets_of(permit.bounds):
            account, wanted = self._accounts.of(budget, permit.day), most.of(budget.kind)
            used = account.spent.of(budget.kind)
            if used + wanted > budget.limit:
                raise words.not_enough(budget, used, wanted)
        for budget in budgets_of(permit.bounds):
            account, wanted = self._accounts.of(budget, permit.day), most.of(budget.kind)
            if (account.spent + account.held).of(budget.kind) + wanted > budget.limit:
                raise words.held(budget)

    def _check_buckets(self, owned: Sequence[Owned], amount: int, now: int) -> None:
        missing = [self._levels.missing(each, now) for each in owned]
        for (owner, bucket), parts in zip(owned, missing, strict=True):
            if amount > bucket.burst:
                raise words.too_large(owner, bucket, parts, amount)
        waits = [bucket.wait(parts, amount) for (_, bucket), parts in zip(owned, missing, strict=True)]
        if any(waits):
            raise words.too_soon(owned, missing, waits, amount)

    def _check_running(self, bounds: tuple[Bounds, ...]) -> None:
        for each in bounds:
            if each.max_concurrency is not None and self._running[each.owner] >= each.max_concurrency:
                raise words.too_many(each.owner, each.max_concurrency)

    def _sweep(self, now: int) -> None:
        """Forgetting full buckets keeps memory to the owners of the moment."""
        self._until_sweep -= 1
        if self._until_sweep <= 0:
            self._levels.forget_full(now)
            self._until_sweep = max(FORGET_EVERY, len(self._levels))
