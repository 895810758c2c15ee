"""What every request used: recorded durably in a journal, and moved to the database by a thread.

    record() ── one line ──> journal ── batches ──> UsageRecord        (queries.py reads)

A record is safe against the death of the process once ``record`` returns, and is in the database a moment
later, exactly once: a batch that is read again after a crash meets its own ``request_id``. A power cut can
take what was recorded in about the last second: until the thread has told the disk to keep it. Waiting for
the disk in ``record`` itself would cost each request milliseconds (docs/usage.md has the figures).
"""

from __future__ import annotations

import logging
import threading

from django.conf import settings
from django.db import close_old_connections, connection

from apikeys.usage.event import UsageEvent
from apikeys.usage.journal import Journal, Segment
from apikeys.usage.store import store

BATCH = 1000  # records in one transaction
GATHER = 0.2  # seconds in which a batch gathers, and by which a dashboard may be late
RETRY = 1.0  # seconds between tries while the database is away
ADOPT_EVERY = 5.0  # seconds between looks for what dead processes left
STOP_WITHIN = 10.0  # seconds; after a longer wait for the database, the next start goes on

logger = logging.getLogger(__name__)


class UsageWriter:
    """Moves what is in a journal to the database."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._draining = threading.Lock()
        self._thread: threading.Thread | None = None

    def record(self, event: UsageEvent) -> None:
        line = event.to_line()
        try:
            self._journal.append(line)
        except OSError:
            # The log is the last place that may still take it.
            logger.exception("Usage could not be written to the journal: %s", line.decode())
        self._wake.set()

    def flush(self) -> None:
        with self._draining:
            # Twice: the newest segment is handed out only after those that had to wait.
            for _ in range(2):
                for segment in self._journal.pending():
                    self._store_segment(segment)

    def start(self) -> None:
        self._stopping.clear()
        self._wake.set()  # dead processes may have left something
        self._thread = threading.Thread(target=self._run, name="usage-writer", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        if self._thread is not None:
            self._stopping.set()
            self._wake.set()
            self._thread.join(STOP_WITHIN)
            self._thread = None

    def _run(self) -> None:
        healthy = True
        while not self._stopping.is_set():
            self._wake.wait(ADOPT_EVERY) if healthy else self._stopping.wait(RETRY)
            self._stopping.wait(GATHER)
            healthy = self._move(was_healthy=healthy)
        self._move(was_healthy=healthy)
        connection.close()

    def _move(self, was_healthy: bool) -> bool:
        """Whether everything went well. Nothing that goes wrong here may end the thread."""
        self._wake.clear()
        try:
            close_old_connections()
            self._journal.adopt()
            with self._draining:
                self._journal.sync()
            _keep_commits_through_power_cuts()
            self.flush()
        except Exception as error:
            if was_healthy:
                logger.error("Usage waits in the journal until the database takes it again: %s", error)
            return False
        if not was_healthy:
            logger.warning("Usage from the journal is in the database again")
        return True

    def _store_segment(self, segment: Segment) -> None:
        lines = segment.lines()
        for at in range(0, len(lines), BATCH):
            store([event for line in lines[at : at + BATCH] if (event := self._parse(line))], self._journal)
        self._journal.delete(segment)

    def _parse(self, line: bytes) -> UsageEvent | None:
        try:
            return UsageEvent.from_line(line)
        except (ValueError, TypeError, KeyError):
            logger.error("A line of the usage journal cannot be read: %r", line)
            self._journal.refuse(line)
            return None


def _keep_commits_through_power_cuts() -> None:
    """The journal gives up what is committed. PostgreSQL's commits are on the disk; those of SQLite's WAL are
    at the next checkpoint, unless one asks for more. Not inside a transaction."""
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA synchronous=FULL")


_writer = UsageWriter(Journal(settings.JOURNAL_DIR))


def record(event: UsageEvent) -> None:
    """Keeps ``event``. Durable when it returns; takes microseconds; callable from any thread."""
    _writer.record(event)


def flush() -> None:
    """Returns when everything that this process has recorded so far is in the database.

    Not for the event loop. Raises ``django.db.Error`` when the database cannot take it now, and keeps it.
    """
    _writer.flush()


def start() -> None:
    """Starts the thread that moves records to the database, those left by dead processes first."""
    _writer.start()


def stop() -> None:
    """Moves what is left, as ``flush`` does but without raising, and ends the thread."""
    _writer.stop()
