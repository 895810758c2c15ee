"""What binds a caller: the limits of a key, of its project and of its person. Knows no Django."""

from __future__ import annotations

from dataclasses import dataclass, fields
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Bounds:
    """The limits of one owner: ``key:1``, ``project:1`` or ``user:1``. None: no limit of that kind.

    A day and a month are those of UTC; money is in the currency of the price table.
    """

    owner: str
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    max_concurrency: int | None = None
    daily_tokens: int | None = None
    monthly_tokens: int | None = None
    daily_money: Decimal | None = None
    monthly_money: Decimal | None = None

    @property
    def binds(self) -> bool:
        return any(getattr(self, name) is not None for name in LIMIT_NAMES)


LIMIT_NAMES = tuple(field.name for field in fields(Bounds) if field.name != "owner")
