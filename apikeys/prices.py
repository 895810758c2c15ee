"""What tokens cost: each model's prices over time, kept in memory, so that no request asks the database.

Every process reads the table again within REFRESH_EVERY, and a price holds at earliest LEAD after it was
written. So by the moment from which it holds all processes know it, and charge the same to the moment.
"""

from __future__ import annotations

import logging
import threading
from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.db import close_old_connections, connection, transaction
from django.utils import timezone

from apikeys import audit
from apikeys.audit import SYSTEM, Actor
from apikeys.models import Price

REFRESH_EVERY = 5.0  # seconds
LEAD = timedelta(seconds=15)  # leaves the database as long again to answer
PER = 1_000_000  # tokens that a price is for
NANO = Decimal("1e-9")  # what a cost is rounded to, in units of the currency

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Rate:
    """Of a million tokens, in units of the currency, from ``valid_from`` until the model's next one."""

    valid_from: datetime
    input: Decimal
    output: Decimal


class PriceList:
    """The rates of all models. Thread-safe: a refresh puts a new list in the place of the old one."""

    def __init__(self) -> None:
        self._rates: dict[str, list[Rate]] = {}
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def rate_of(self, model: str, at: datetime) -> Rate | None:
        """None: the model is free. Asks nobody."""
        rates = self._rates.get(model, [])
        place = bisect_right(rates, at, key=lambda rate: rate.valid_from)
        return rates[place - 1] if place else None

    def cost_of(self, model: str, prompt_tokens: int, completion_tokens: int, at: datetime) -> Decimal:
        """In units of the currency, rounded half even to NANO; 0 for a model without a price."""
        rate = self.rate_of(model, at)
        if rate is None:
            return Decimal(0)
        return ((rate.input * prompt_tokens + rate.output * completion_tokens) / PER).quantize(NANO)

    def refresh(self) -> None:
        """Reads the table. Raises ``django.db.Error`` when it cannot, and keeps what it knew."""
        rates: dict[str, list[Rate]] = defaultdict(list)
        for price in Price.objects.order_by("valid_from"):
            rates[price.model].append(Rate(price.valid_from, price.input, price.output))
        self._rates = dict(rates)

    def start(self) -> None:
        self._stopping.clear()
        self._thread = threading.Thread(target=self._watch, name="price-watcher", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        if self._thread is not None:
            self._stopping.set()
            self._thread.join()
            self._thread = None

    def _watch(self) -> None:
        while True:
            try:
                close_old_connections()
                self.refresh()
            except Exception as error:
                logger.warning("The database does not say what tokens cost: %s", error)
            if self._stopping.wait(REFRESH_EVERY):
                break
        connection.close()


_prices = PriceList()
rate_of, cost_of, refresh, start, stop = (
    _prices.rate_of,
    _prices.cost_of,
    _prices.refresh,
    _prices.start,
    _prices.stop,
)


def set_price(
    model: str, rate: tuple[Decimal, Decimal], valid_from: datetime | None = None, *, by: Actor = SYSTEM
) -> Price:
    """Adds what a million tokens of ``model`` cost, in and out; no row that is there changes.

    Without ``valid_from`` it holds from LEAD on. Raises ``ValueError`` for an earlier moment: what has been
    charged stays charged.
    """
    earliest = timezone.now() + LEAD
    if valid_from is not None and valid_from < earliest:
        raise ValueError("A price cannot hold from a moment in the past.")
    with transaction.atomic():
        price = Price.objects.create(
            model=model,
            input=rate[0],
            output=rate[1],
            valid_from=valid_from or earliest,
            created_by_id=by.user_id,
        )
        after = audit.snapshot(price, ("model", "input", "output", "valid_from"))
        audit.record(by, "price.set", price, project_id=None, after=after)
    return price
