"""Something that others run is away: one line in the log when that begins, and one when it is over."""

from __future__ import annotations

import logging
import threading
import time
from datetime import UTC, datetime


class Outage:
    """``gone`` and ``back`` are said once for each outage, however often it is noticed. Thread-safe."""

    def __init__(self, logger: logging.Logger, gone: str, back: str) -> None:
        self._logger = logger
        self._gone, self._back = gone, back
        self._began = 0.0
        self._lock = threading.Lock()
        self.since: datetime | None = None  # None: all is well

    def noticed(self, error: object) -> None:
        with self._lock:
            if self.since is None:
                self.since, self._began = datetime.now(UTC), time.monotonic()
                self._logger.warning("%s: %s", self._gone, error)

    def over(self) -> None:
        """All is well, as far as one can tell."""
        if self.since is None:
            return
        with self._lock:
            if self.since is not None:
                self.since = None
                self._logger.warning("%s after %.1f s", self._back, time.monotonic() - self._began)
