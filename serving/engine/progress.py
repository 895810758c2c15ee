"""Progress of work that does not say how far it is."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_TICK_SECONDS = 0.5

Report = Callable[[str, float], None]
"""Called with what is being done and the fraction done, from 0 to 1; from more than one thread."""


class Progress:
    """Splits 0 ... 1 into stages. Within one, the fraction nears the stage's end by how long such
    work usually takes, and never reaches it before the work is done."""

    def __init__(self, report: Report, fraction: float = 0.0) -> None:
        """``fraction``: what is done already."""
        self._report = report
        self._fraction = fraction

    @contextmanager
    def stage(self, label: str, until: float, usual_seconds: float) -> Iterator[None]:
        """Report ``label`` twice a second while inside, and ``until`` at the end. An exception ends
        the reports where they are."""
        done = threading.Event()
        ticker = threading.Thread(
            target=self._tick, args=(label, until, usual_seconds, done), name="progress", daemon=True
        )
        ticker.start()
        try:
            yield
        finally:
            done.set()
            ticker.join()
        self._fraction = until
        self._report(label, until)

    def _tick(self, label: str, until: float, usual_seconds: float, done: threading.Event) -> None:
        start, began = self._fraction, time.monotonic()
        while True:
            share = 1 - math.exp(-(time.monotonic() - began) / usual_seconds)
            self._report(label, start + (until - start) * share)
            if done.wait(_TICK_SECONDS):
                return
