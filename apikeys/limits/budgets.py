"""What an owner may use up in a day or a month (UTC), and what is used up of it. Knows no Django."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Literal

from apikeys.bounds import Bounds

Period = Literal["daily", "monthly"]
Kind = Literal["tokens", "money"]
PERIODS: tuple[Period, ...] = ("daily", "monthly")
KINDS: tuple[Kind, ...] = ("tokens", "money")
BILLION = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Amount:
    """Of tokens, and of money in billionths."""

    tokens: int = 0
    money: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.tokens + other.tokens, self.money + other.money)

    def __sub__(self, other: Amount) -> Amount:
        return Amount(self.tokens - other.tokens, self.money - other.money)

    def of(self, kind: Kind) -> int:
        return self.tokens if kind == "tokens" else self.money

    def at_least(self, other: Amount) -> Amount:
        return Amount(max(self.tokens, other.tokens), max(self.money, other.money))


NOTHING = Amount()


@dataclass(frozen=True, slots=True)
class Budget:
    """``limit``: tokens, or billionths of the currency."""

    owner: str
    period: Period
    kind: Kind
    limit: int


@lru_cache(4096)
def budgets_of(bounds: tuple[Bounds, ...]) -> tuple[Budget, ...]:
    return tuple(
        Budget(each.owner, period, kind, int(limit * (BILLION if kind == "money" else 1)))
        for each in bounds
        for period in PERIODS
        for kind in KINDS
        if (limit := getattr(each, f"{period}_{kind}")) is not None
    )


@lru_cache(4096)
def payers_of(bounds: tuple[Bounds, ...]) -> tuple[str, ...]:
    """The owners who have budgets."""
    return tuple(dict.fromkeys(budget.owner for budget in budgets_of(bounds)))


def day_of(moment: datetime) -> str:
    return moment.astimezone(UTC).date().isoformat()


def name_of(period: Period, day: str) -> str:
    """Of the day, or of its month: ``2026-05-20``, ``2026-05``."""
    return day if period == "daily" else day[:7]


@dataclass(slots=True)
class Account:
    """Of one owner in one period. ``held`` is set aside for requests that are running."""

    spent: Amount = NOTHING
    held: Amount = NOTHING


class Accounts:
    """Of all owners and periods. Not thread-safe."""

    def __init__(self) -> None:
        self._accounts: dict[tuple[str, str], Account] = {}

    def of(self, budget: Budget, day: str) -> Account:
        return self._accounts.get((budget.owner, name_of(budget.period, day))) or Account()

    def add(self, owners: tuple[str, ...], day: str, *, spent: Amount, held: Amount) -> None:
        for owner in owners:
            for period in PERIODS:
                account = self._accounts.setdefault((owner, name_of(period, day)), Account())
                account.spent += spent
                account.held += held

    def learn(self, owner: str, period: Period, day: str, spent: Amount) -> None:
        """That at least so much was spent. What was counted here may not be in the database yet."""
        account = self._accounts.setdefault((owner, name_of(period, day)), Account())
        account.spent = account.spent.at_least(spent)

    def forget_all_but(self, day: str) -> None:
        """Those of other days and months, of which nothing is running."""
        names = {name_of(period, day) for period in PERIODS}
        accounts = self._accounts.items()
        self._accounts = {
            key: account for key, account in accounts if key[1] in names or account.held != NOTHING
        }
