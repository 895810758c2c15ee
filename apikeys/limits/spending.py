"""What the database says was spent: read when an owner with a budget first comes, and every so often again,
for what other processes and servers have spent meanwhile."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from django.db import close_old_connections, connection

from apikeys.bounds import Bounds
from apikeys.limits.budgets import PERIODS, Amount, Period, day_of, payers_of
from apikeys.limits.limiter import Limiter
from apikeys.usage.filters import UsageFilters
from apikeys.usage.queries import usage_totals
from apikeys.usage.totals import Totals

READ_EVERY = 10.0  # seconds
PATIENCE = 5.0  # seconds that the first request of an owner waits for the database

logger = logging.getLogger(__name__)


def usage_of(owner: str, period: Period, now: datetime) -> Totals:
    """What ``owner`` (``key:1``, ``project:1``, ``user:1``) has used in the day or month (UTC) of ``now``."""
    day = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    start = day if period == "daily" else day.replace(day=1)
    kind, _, number = owner.partition(":")
    about: dict[str, int | None] = {"user_id": None, f"{kind}_id": int(number)}
    return usage_totals(
        UsageFilters(start=start, end=day + timedelta(days=1), range="custom", step="day", **about)  # type: ignore[arg-type]
    )


class Reader:
    """Tells ``limiter`` what was spent. ``ask`` is called in a thread; while it fails, an owner's budgets go
    by what was spent here."""

    def __init__(self, limiter: Limiter, ask: Callable[[str, Period, datetime], Totals] = usage_of) -> None:
        self._limiter = limiter
        self._ask = ask
        self._read_at: dict[tuple[str, str], float] = {}  # by owner and day
        self._reading: dict[str, Future[None]] = {}
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(1, "budget-reader")

    def forget(self) -> None:
        """What was read is asked again before anybody else is admitted."""
        with self._lock:
            self._read_at.clear()

    async def look_after(self, bounds: tuple[Bounds, ...]) -> None:
        """Waits only for owners of whom nothing is known of today."""
        now = datetime.now(UTC)
        for owner in payers_of(bounds):
            first = self._begin_if_due(owner, now)
            if first is not None:
                await asyncio.wait([asyncio.wrap_future(first)], timeout=PATIENCE)

    def _begin_if_due(self, owner: str, now: datetime) -> Future[None] | None:
        """What is to be waited for, if anything is."""
        with self._lock:
            read_at = self._read_at.get((owner, day_of(now)))
            if read_at is not None and time.monotonic() - read_at <= READ_EVERY:
                return None
            if owner not in self._reading:
                self._reading[owner] = self._pool.submit(self._read, owner, now)
            return self._reading[owner] if read_at is None else None

    def _read(self, owner: str, now: datetime) -> None:
        try:
            close_old_connections()
            for period in PERIODS:
                used = self._ask(owner, period, now)
                tokens = used.prompt_tokens + used.completion_tokens
                self._limiter.learn(owner, period, day_of(now), Amount(tokens, used.cost_nanos))
        except Exception as error:
            logger.warning("The database does not say what %s has spent: %s", owner, error)
        finally:
            connection.close()
            self._note(owner, day_of(now))

    def _note(self, owner: str, day: str) -> None:
        with self._lock:
            self._read_at = {key: at for key, at in self._read_at.items() if key[1] == day}
            self._read_at[owner, day] = time.monotonic()
            del self._reading[owner]
