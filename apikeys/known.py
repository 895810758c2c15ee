"""Rows that this process has looked up lately, so that a caller who comes again costs no query.

What is remembered is trusted for TRUSTED seconds after the database was asked; a watcher asks again, off
the path of any request, before that time is over. So what has changed

- in this process is seen at once: whoever changes it calls ``forget``, or a signal of its model does;
- in another process, or past the models, is seen within TRUSTED seconds.

While the database does not answer, what was known by then holds on, for TRUSTED_ALONE seconds at most.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from django.db import InterfaceError, OperationalError, close_old_connections, connection, transaction

from apikeys.outages import Outage

TRUSTED = 1.0  # seconds
TRUSTED_ALONE = 300.0  # seconds, while the database does not answer
ASK_EVERY = 0.4  # seconds; leaves the database as long to answer
KEEP = 60.0  # seconds without use after which a row is no longer asked about
ASK_AT_ONCE = 500  # rows in one query

Row = TypeVar("Row")

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Known(Generic[Row]):
    """``asked_at`` is when the query that found ``row`` began, ``used_at`` when somebody came with it."""

    row: Row
    asked_at: float
    used_at: float


class Known(Generic[Row]):
    """Rows by name. ``ask`` tells of rows how they are now; those that it leaves out are gone.

    Thread-safe. ``clock`` gives seconds that never go back.
    """

    def __init__(
        self,
        what: str,
        ask: Callable[[Mapping[str, Row]], Mapping[str, Row]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._what = what
        self._ask = ask
        self._clock = clock
        self._known: dict[str, _Known[Row]] = {}
        self._lock = threading.Lock()
        self._outage = Outage(
            logger,
            f"The database does not say which {what}s still hold",
            f"The database says again which {what}s hold",
        )
        self._alone = False  # the database did not answer when it was last asked again
        self._forgotten = 0  # how often anything was: what was asked before may be out of date
        self._in_use = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def get(self, name: str) -> Row | None:
        """As the database had it at most TRUSTED seconds ago, or TRUSTED_ALONE. Asks nobody."""
        known = self._known.get(name)
        if known is None:
            return None
        now = self._clock()
        known.used_at = now
        return known.row if now - known.asked_at < (TRUSTED_ALONE if self._alone else TRUSTED) else None

    def learn(self, name: str, find: Callable[[], Row | None]) -> Row | None:
        """What ``find`` gets from the database, remembered."""
        asked_at, forgotten = self._clock(), self._forgotten
        row = find()
        if row is not None:
            with self._lock:
                if self._forgotten == forgotten:
                    self._known[name] = _Known(row, asked_at, asked_at)
            self._in_use.set()
        return row

    def forget(self, is_meant: Callable[[Row], bool]) -> None:
        """Now, and again when the change can be seen: until then it may be looked up as it was."""
        self._drop(is_meant)
        transaction.on_commit(lambda: self._drop(is_meant))

    def start(self) -> None:
        self._stopping.clear()
        self._thread = threading.Thread(target=self._watch, name=f"{self._what}-watcher", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        if self._thread is not None:
            self._stopping.set()
            self._in_use.set()
            self._thread.join()
            self._thread = None

    def ask_again(self) -> None:
        """Asks the database about every row in use, and drops the others. Raises what the database does."""
        now, forgotten = self._clock(), self._forgotten
        used = {name: known for name, known in self._known.copy().items() if now - known.used_at < KEEP}
        names = list(used)
        found: dict[str, Row] = {}
        try:
            for at in range(0, len(names), ASK_AT_ONCE):
                found |= self._ask({name: used[name].row for name in names[at : at + ASK_AT_ONCE]})
        except (OperationalError, InterfaceError):
            self._alone = True
            raise
        self._alone = False
        with self._lock:
            if self._forgotten != forgotten:  # it may have been one of these: the next round tells
                return
            for name, known in self._known.copy().items():
                if name in found:
                    self._known[name] = _Known(found[name], now, known.used_at)
                elif known.asked_at < now:
                    del self._known[name]

    def _drop(self, is_meant: Callable[[Row], bool]) -> None:
        with self._lock:
            self._forgotten += 1
            self._known = {name: known for name, known in self._known.items() if not is_meant(known.row)}

    def _watch(self) -> None:
        while not self._stopping.wait(ASK_EVERY):
            self._in_use.clear()
            if not self._known:
                self._in_use.wait()
            try:
                close_old_connections()
                self.ask_again()
                self._outage.over()
            except Exception as error:
                self._outage.noticed(error)
        connection.close()
