"""On Redis as long as it answers; while it does not, each server gives out its share of the limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from apikeys.limits.budgets import Amount, Period
from apikeys.limits.demands import Demand, Found, Settlement
from apikeys.limits.memory import MemoryStore
from apikeys.limits.shared.line import Away
from apikeys.limits.shared.store import RedisStore


@dataclass(frozen=True, slots=True)
class Alone:
    """Since when each server has been: since Redis has not answered. There were ``servers`` then, and each
    gives out so small a part."""

    since: datetime
    servers: int


class SharedStore:
    """A ``Store``. Its own counts know of everything that is spent here, so that budgets hold on when Redis
    is gone; ``recovered`` is called when it is back."""

    def __init__(self, url: str, recovered: Callable[[], None] = lambda: None) -> None:
        self._redis = RedisStore(url, recovered)
        self._own = MemoryStore()
        self.start, self.stop = self._redis.start, self._redis.stop

    @property
    def alone(self) -> Alone | None:
        since = self._redis.away_since
        return None if since is None else Alone(since, self._redis.servers)

    async def decide(self, demand: Demand) -> Found:
        try:
            return await self._redis.decide(demand)
        except Away:
            return await self._own.decide(demand.share_of(self._redis.servers))

    def leave(self, admission: Found) -> None:
        self._redis.leave(admission)
        self._own.leave(admission)

    def settle(self, settlement: Settlement) -> None:
        self._redis.settle(settlement)
        self._own.settle(settlement)

    def learn(self, owner: str, period: Period, day: str, spent: Amount) -> None:
        self._redis.learn(owner, period, day, spent)
        self._own.learn(owner, period, day, spent)
