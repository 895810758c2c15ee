"""Token buckets, exact: kept as GCRA keeps them (the generic cell rate algorithm, ITU-T I.371), which is one
number for each, the moment at which it will be full again. Knows no Django."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from apikeys.bounds import Bounds

SECOND = 1_000_000_000  # nanoseconds
MILLISECOND = 1_000_000
MINUTE = 60 * SECOND

Unit = Literal["requests", "tokens"]


@dataclass(frozen=True, slots=True)
class Bucket:
    """Holds ``burst`` when it is full; ``rate`` come back in each ``period`` (ns), one after the other.

    Time is counted in parts of a nanosecond, ``rate`` to each: one request or token comes back in exactly
    ``period`` parts, so that nothing is ever rounded. ``servers``: by how many the limit is shared out.
    """

    unit: Unit
    rate: int
    period: int
    burst: int
    servers: int = 1

    def wait(self, missing: int, amount: int) -> int:
        """Nanoseconds until ``amount`` can be taken; 0 when it can be now. ``missing``: parts until full."""
        lacking = missing + (amount - self.burst) * self.period
        return max(0, -(-lacking // self.rate))

    def remaining(self, missing: int) -> int:
        return self.burst - -(-missing // self.period)

    def time_to_more(self, missing: int) -> int:
        """Nanoseconds until ``remaining`` next grows."""
        over = missing % self.period or min(missing, self.period)
        return -(-over // self.rate)

    def time_to_full(self, missing: int) -> int:
        return -(-missing // self.rate)

    def share_of(self, servers: int) -> Bucket:
        """What one of so many servers may give out by itself."""
        burst = max(1, self.burst // servers)
        return replace(self, period=self.period * servers, burst=burst, servers=servers)


Owned = tuple[str, Bucket]  # an owner's bucket


@lru_cache(4096)
def buckets_of(bounds: tuple[Bounds, ...], unit: Unit) -> tuple[Owned, ...]:
    """Of those that limit requests, or tokens, per minute."""
    limits = ((each.owner, getattr(each, f"{unit}_per_minute")) for each in bounds)
    return tuple((owner, Bucket(unit, limit, MINUTE, limit)) for owner, limit in limits if limit is not None)


class Levels:
    """How full the buckets are. Not thread-safe. ``now``: nanoseconds that never go back."""

    def __init__(self) -> None:
        self._full_at: dict[Owned, int] = {}  # in parts

    def __len__(self) -> int:
        return len(self._full_at)

    def missing(self, owned: Owned, now: int) -> int:
        """Parts until it is full."""
        return max(0, self._full_at.get(owned, 0) - now * owned[1].rate)

    def take(self, owned: Iterable[Owned], amount: int, now: int) -> None:
        """From each; a negative amount is given back."""
        for each in owned:
            missing = self.missing(each, now) + amount * each[1].period
            self._full_at[each] = now * each[1].rate + max(0, missing)

    def forget_full(self, now: int) -> None:
        """A full bucket is the same as none."""
        levels = self._full_at.items()
        self._full_at = {each: full_at for each, full_at in levels if full_at > now * each[1].rate}

    def clear(self) -> None:
        self._full_at.clear()
