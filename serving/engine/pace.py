"""How fast requests finish and tokens come, to tell people what to expect."""

from __future__ import annotations

import time
from collections import deque

# openai-python obeys a retry-after of at most 120 s; below 1 s nobody should hammer a full queue.
_SHORTEST, _LONGEST = 1.0, 120.0
_WINDOW = 10


class Pace:
    """Remembers when the last 32 requests finished, and the tokens of each of the last seconds. Written by
    the engine's thread, read by any."""

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._finishes: deque[float] = deque(maxlen=32)
        # (second, tokens): each replaced as a whole, so that a reader never sees half of one.
        self._seconds = [(-1, 0)] * (_WINDOW + 1)

    def finished(self) -> None:
        if len(self._finishes) == self._finishes.maxlen:
            self._since = self._finishes[0]
        self._finishes.append(time.monotonic())

    def generated(self, tokens: int) -> None:
        now = int(time.monotonic())
        second, before = self._seconds[now % len(self._seconds)]
        self._seconds[now % len(self._seconds)] = (now, tokens + (before if second == now else 0))

    def tokens_per_second(self) -> float:
        """Over the last 10 whole seconds."""
        now = int(time.monotonic())
        return sum(tokens for second, tokens in self._seconds if now - _WINDOW <= second < now) / _WINDOW

    def seconds_per_finish(self) -> float:
        """Seconds between two finishes, as it went lately."""
        return (time.monotonic() - self._since) / max(len(self._finishes), 1)

    def retry_after(self) -> float:
        """Predicted seconds until the next request finishes, between 1 and 120."""
        return min(max(self.seconds_per_finish(), _SHORTEST), _LONGEST)
