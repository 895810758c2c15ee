"""From what binds a caller to one decision, and from what was found to a permit or a refusal."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime

from apikeys.bounds import Bounds
from apikeys.limits import words
from apikeys.limits.buckets import SECOND, Bucket, Owned, buckets_of
from apikeys.limits.budgets import Amount, Period, budgets_of, day_of, payers_of
from apikeys.limits.demands import Demand, Settlement, Store, places_of
from apikeys.limits.memory import MemoryStore
from apikeys.limits.permits import Permit, new_id


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Limiter:
    """Admits ``rate`` requests per second and owner, and ``burst`` at once, within the bounds of the caller.
    ``store`` counts; ``today`` gives the moment that budgets go by."""

    def __init__(
        self,
        rate: int,
        burst: int,
        store: Store | None = None,
        today: Callable[[], datetime] = _utc_now,
    ) -> None:
        self.store: Store = MemoryStore() if store is None else store
        self._everybody = Bucket("requests", rate, SECOND, burst)
        self._today = today
        self._lock = threading.Lock()

    async def admit(
        self, owner: str, bounds: tuple[Bounds, ...] = (), *, spends: bool = True, paced: bool = True
    ) -> Permit:
        """Takes one request out of the buckets of ``owner`` and of ``bounds``, unless not ``paced``, and
        a place among what may run at once. Raises ``RateLimited``, and ``InsufficientQuota`` if it ``spends``
        of a budget that is spent."""
        takes: tuple[Owned, ...] = ((owner, self._everybody),) if paced else ()
        if not bounds:
            demand = Demand(new_id(), takes)
        else:
            demand = Demand(
                new_id(),
                takes + buckets_of(bounds, "requests") if paced else (),
                places=places_of(bounds),
                budgets=budgets_of(bounds) if spends else (),
                day=day_of(self._today()),
            )
        found = await self.store.decide(demand)
        if not found.passed:
            raise words.refusal(found)
        return Permit(self, bounds, found)

    async def reserve(self, permit: Permit, most: Amount) -> None:
        """Raises as ``Permit.reserve``."""
        if permit.settled or permit.reservation is not None:
            return
        found = await self.store.decide(
            Demand(
                permit.id,
                buckets_of(permit.bounds, "tokens"),
                most.tokens,
                budgets=budgets_of(permit.bounds),
                day=permit.day,
                hold=most,
            )
        )
        if not found.passed:
            raise words.refusal(found)
        permit.reservation = found
        permit.headers.update(words.headers_of(found))

    def settle(self, permit: Permit, used: Amount) -> None:
        with self._lock:
            if permit.settled:
                return
            permit.settled = True
        self.store.settle(
            Settlement(permit.id, permit.day, payers_of(permit.bounds), used, *permit.reserved())
        )

    def end(self, permit: Permit) -> None:
        with self._lock:
            if not permit.open:
                return
            permit.open = False
        if permit.admission.demand.places:
            self.store.leave(permit.admission)

    def learn(self, owner: str, period: Period, day: str, spent: Amount) -> None:
        self.store.learn(owner, period, day, spent)
