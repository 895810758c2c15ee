"""How often a request finishes, to tell a refused caller when to come back."""

from __future__ import annotations

import time
from collections import deque

# openai-python obeys a retry-after of at most 120 s; below 1 s nobody should hammer a full queue.
_SHORTEST, _LONGEST = 1.0, 120.0


class Pace:
    """Remembers when the last 32 requests finished."""

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._finishes: deque[float] = deque(maxlen=32)

    def finished(self) -> None:
        if len(self._finishes) == self._finishes.maxlen:
            self._since = self._finishes[0]
        self._finishes.append(time.monotonic())

    def seconds_per_finish(self) -> float:
        """Predicted seconds until the next request finishes, between 1 and 120."""
        waited = time.monotonic() - self._since
        return min(max(waited / max(len(self._finishes), 1), _SHORTEST), _LONGEST)
