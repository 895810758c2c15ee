"""How often a caller may ask: one token bucket per owner, exact, in this process.

The bucket is kept as GCRA keeps it (the generic cell rate algorithm, ITU-T I.371): one number per owner,
the moment at which its bucket will be full again. All arithmetic is in whole nanoseconds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from django.conf import settings

from apikeys.auth import Caller
from apikeys.errors import RateLimited

SECOND = 1_000_000_000  # nanoseconds
MILLISECOND = 1_000_000
FORGET_EVERY = 1024  # admissions between two sweeps over buckets that are full again


class Permit:
    """Leave to do one request. ``headers`` tell the caller what is left."""

    def __init__(self, limiter: Limiter, headers: dict[str, str]) -> None:
        self.headers = headers
        self.open = True
        self._limiter = limiter

    def release(self) -> None:
        """Says that the request has ended. Saying it again, from any thread, changes nothing."""
        self._limiter.end(self)


class Limiter:
    """Admits ``rate`` requests per second and owner, and ``burst`` at once. Thread-safe.

    ``clock`` gives nanoseconds that never go back.
    """

    def __init__(self, rate: int, burst: int, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self.rate = rate
        self.burst = burst
        self._interval = -(-SECOND // rate)
        self._clock = clock
        self._full_at: dict[str, int] = {}
        self._until_sweep = FORGET_EVERY
        self._lock = threading.Lock()
        self.in_flight = 0

    def admit(self, owner: str) -> Permit:
        """Takes one request out of ``owner``'s bucket. Raises ``RateLimited`` when it is empty."""
        with self._lock:
            now = self._clock()
            self._sweep(now)
            full_at = max(self._full_at.get(owner, now), now) + self._interval
            wait = full_at - now - self.burst * self._interval
            if wait > 0:
                raise self._refusal(wait)
            self._full_at[owner] = full_at
            self.in_flight += 1
        return Permit(self, self._headers(full_at - now))

    def __len__(self) -> int:
        """How many buckets are remembered: those that were not full at the last sweep."""
        return len(self._full_at)

    def end(self, permit: Permit) -> None:
        with self._lock:
            self.in_flight -= permit.open
            permit.open = False

    def _sweep(self, now: int) -> None:
        """A full bucket is the same as none: forgetting those keeps memory to the owners of the moment."""
        self._until_sweep -= 1
        if self._until_sweep <= 0:
            self._full_at = {owner: full_at for owner, full_at in self._full_at.items() if full_at > now}
            self._until_sweep = max(FORGET_EVERY, len(self._full_at))

    def _headers(self, missing: int) -> dict[str, str]:
        """``missing``: nanoseconds until the bucket is full again."""
        taken = -(-missing // self._interval)
        return {
            "x-ratelimit-limit-requests": str(self.burst),
            "x-ratelimit-remaining-requests": str(self.burst - taken),
            # When `remaining` next grows by one: with none left, when the next call passes.
            "x-ratelimit-reset-requests": format_duration(missing - (taken - 1) * self._interval),
        }

    def _refusal(self, wait: int) -> RateLimited:
        milliseconds = -(-wait // MILLISECOND)
        return RateLimited(
            f"Rate limit reached: {self.burst} requests at once, then {self.rate} per second. "
            f"Please try again in {format_duration(wait)}.",
            headers={
                "x-ratelimit-limit-requests": str(self.burst),
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": format_duration(wait),
                "Retry-After": str(-(-wait // SECOND)),
                "retry-after-ms": str(milliseconds),
            },
        )


def format_duration(nanoseconds: int) -> str:
    """A duration as OpenAI writes it, rounded up to milliseconds: ``12ms``, ``1s``, ``1.5s``, ``6m0s``."""
    milliseconds = -(-nanoseconds // MILLISECOND)
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    seconds, milliseconds = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    fraction = f".{milliseconds:03}".rstrip("0") if milliseconds else ""
    return (
        (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + f"{seconds}{fraction}s"
    )


limiter = Limiter(settings.RATE_LIMIT_PER_SECOND, settings.RATE_LIMIT_BURST)


async def admit(caller: Caller) -> Permit:
    """Leave for one request of ``caller``. Raises ``RateLimited``; its headers say when to come back."""
    return limiter.admit(caller.owner)
