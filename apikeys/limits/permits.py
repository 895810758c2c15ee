"""Leave to do one request, from when it is admitted until it is paid."""

from __future__ import annotations

import itertools
import secrets
from decimal import Decimal
from typing import TYPE_CHECKING

from apikeys.bounds import Bounds
from apikeys.limits import words
from apikeys.limits.buckets import Owned, buckets_of
from apikeys.limits.budgets import NOTHING, Amount
from apikeys.limits.demands import Found, Store
from apikeys.models import to_nanos

if TYPE_CHECKING:
    from apikeys.limits.limiter import Limiter

_PROCESS = secrets.token_hex(8)
_numbers = itertools.count(1)


def new_id() -> str:
    """Of one permit, among those of all servers."""
    return f"{_PROCESS}-{next(_numbers)}"


class Permit:
    """``headers`` tell the caller what is left. ``day``: in which it is paid for, as the database has it."""

    def __init__(self, limiter: Limiter, bounds: tuple[Bounds, ...], admission: Found) -> None:
        self.id = admission.demand.permit
        self.day = admission.demand.day
        self.headers = words.headers_of(admission)
        self.bounds = bounds
        self.open = True
        self.settled = False
        self.admission = admission
        self.reservation: Found | None = None
        self._limiter = limiter

    async def reserve(self, tokens: int, cost: Decimal = Decimal(0)) -> None:
        """Sets aside the most that the request may use, once. Raises ``TokensLimited``, ``RateLimited``,
        ``InsufficientQuota``; then nothing is set aside."""
        if self.bounds:
            await self._limiter.reserve(self, Amount(tokens, to_nanos(cost)))

    def settle(self, tokens: int, cost: Decimal) -> None:
        """Says that the request has ended and what it used: that is paid, and the rest given back. Saying it
        again, from any thread, changes nothing."""
        self._limiter.end(self)
        if self.bounds:
            self._limiter.settle(self, Amount(tokens, to_nanos(cost)))

    def release(self) -> None:
        """Says that the request runs no more. Saying it again, from any thread, changes nothing."""
        self._limiter.end(self)

    def reserved(self) -> tuple[tuple[Owned, ...], Amount, Store]:
        """Out of which buckets, how much, and where that is counted."""
        if self.reservation is None:
            return buckets_of(self.bounds, "tokens"), NOTHING, self.admission.store
        demand = self.reservation.demand
        return demand.takes, demand.hold or NOTHING, self.reservation.store
