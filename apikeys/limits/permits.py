"""Leave to do one request, from when it is admitted until it is paid."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from apikeys.bounds import Bounds
from apikeys.limits.budgets import NOTHING, Amount
from apikeys.models import to_nanos

if TYPE_CHECKING:
    from apikeys.limits.limiter import Limiter


class Permit:
    """``headers`` tell the caller what is left. ``day``: in which it is paid for, as the database has it."""

    def __init__(
        self, limiter: Limiter, headers: dict[str, str], bounds: tuple[Bounds, ...], day: str
    ) -> None:
        self.headers = headers
        self.bounds = bounds
        self.day = day
        self.open = True
        self.settled = False
        self.reserved = NOTHING
        self._limiter = limiter

    def reserve(self, tokens: int, cost: Decimal = Decimal(0)) -> None:
        """Sets aside the most that the request may use, once. Raises ``TokensLimited``, ``RateLimited``,
        ``InsufficientQuota``; then nothing is set aside."""
        if self.bounds:
            self._limiter.reserve(self, Amount(tokens, to_nanos(cost)))

    def settle(self, tokens: int, cost: Decimal) -> None:
        """Says that the request has ended and what it used: that is paid, and the rest given back. Saying it
        again, from any thread, changes nothing."""
        self._limiter.end(self)
        if self.bounds:
            self._limiter.settle(self, Amount(tokens, to_nanos(cost)))

    def release(self) -> None:
        """Says that the request runs no more. Saying it again, from any thread, changes nothing."""
        self._limiter.end(self)
