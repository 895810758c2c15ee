"""Who is turned away while a model is overloaded: the lowest tier first.

Its load is how full its queue is, from 0 to 1. A tier is refused while the load is as much as it bears: now,
and as a mean over the last seconds, so that a crowd that is gone in a moment turns nobody away, nor does one
that has just left. What the highest tier bears is all that the queue takes.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from weakref import WeakKeyDictionary

from apikeys.auth import Caller
from apikeys.models import Tier
from serving.backends import Backend
from serving.engine.stats import EngineStats
from serving.errors import EngineOverloaded

BEARS: dict[Tier, float] = {"low": 0.25, "normal": 0.75, "high": 1.0}
WINDOW = 10.0  # seconds
LOOK_EVERY = 0.25  # seconds
_SHORTEST, _LONGEST = 1.0, 120.0  # seconds: openai-python obeys no longer wait


class Load:
    """Of one model, looked at when requests come. For the event loop. ``clock`` gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: deque[tuple[float, float]] = deque()

    def look(self, stats: EngineStats) -> float:
        """What a tier has to bear to be served now."""
        now, load = self._clock(), stats.waiting / max(stats.max_waiting, 1)
        while self._seen and self._seen[0][0] <= now - WINDOW:
            self._seen.popleft()
        if not self._seen or now - self._seen[-1][0] >= LOOK_EVERY:
            self._seen.append((now, load))
        mean = sum(seen for _, seen in self._seen) / len(self._seen)
        return min(load, mean)


_loads: WeakKeyDictionary[Backend, Load] = WeakKeyDictionary()


def check(caller: Caller, backend: Backend) -> None:
    """Raises EngineOverloaded. The lines of a batch have time, whatever their tier."""
    tier: Tier = "low" if caller.source == "batch" else caller.tier
    stats = backend.health()
    if _loads.setdefault(backend, Load()).look(stats) >= BEARS[tier]:
        wait = min(max(stats.predicted_wait_seconds, _SHORTEST), _LONGEST)
        raise EngineOverloaded(wait, f"requests of tier '{tier}' are not taken now")
