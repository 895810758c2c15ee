"""What every request used: recorded durably in a journal, and moved to the database by a thread.

    record() ── one line ──> journal ── batches ──> UsageRecord        (queries.py reads)

A record is safe against the death of the process once ``record`` returns, and is in the database a moment
later, exactly once: a batch that is read again after a crash meets its own ``request_id``. A power cut can
take what was recorded in about the last second: until the thread has told the disk to keep it. Waiting for
the disk in ``record`` itself would cost each request milliseconds (docs/usage.md has the figures).
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from django.conf import settings
from django.db import DataError, IntegrityError, close_old_connections, connection, models, transaction
from django.db.models import Q

from apikeys.journal import Journal, Segment
from apikeys.models import ApiKey, Project, RequestContent, UsageRecord

BATCH = 1000  # records in one transaction
GATHER = 0.2  # seconds in which a batch gathers, and by which a dashboard may be late
RETRY = 1.0  # seconds between tries while the database is away
ADOPT_EVERY = 5.0  # seconds between looks for what dead processes left
STOP_WITHIN = 10.0  # seconds; after a longer wait for the database, the next start goes on

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class UsageEvent:
    """One finished request. ``status`` is HTTP's, or 499 when the client left before the end."""

    request_id: str
    user_id: int
    key_id: int | None
    project_id: int | None  # None only in a line from before there were projects
    source: str
    endpoint: str
    model: str
    prompt_tokens: int
    completion_tokens: int
    status: int
    finish_reason: str
    error_code: str
    started_at: datetime
    ttft_ms: int | None
    duration_ms: int
    stream: bool
    cost_nanos: int = 0  # billionths of the currency
    queue_ms: int | None = None  # until the model began with it; None: no model was asked
    prefill_ms: int | None = None  # from there to its first token
    decode_ms: int | None = None  # from there to its last
    compute_us: int = 0  # its share of what the model computed meanwhile, in microseconds
    address: str = ""  # noted with the key, not with each request
    content: str = ""  # what was said, as ``contents`` seals it; empty where the project does not keep it
    cached: bool = False  # the answer had been computed before: it costs nothing

    def to_line(self) -> bytes:
        fields = {**_fields_of(self), "started_at": self.started_at.isoformat()}
        return json.dumps(fields).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Self:
        """Raises ``ValueError`` or ``TypeError`` for a line that ``to_line`` did not write whole."""
        fields = {"project_id": None, **json.loads(line)}
        return cls(**{**fields, "started_at": datetime.fromisoformat(fields["started_at"])})


def _fields_of(event: UsageEvent) -> dict[str, Any]:
    """As ``asdict``, which copies every value and takes ten times as long."""
    return {name: getattr(event, name) for name in UsageEvent.__slots__}


_TEXTS = [field for field in UsageRecord._meta.fields if isinstance(field, models.CharField)]


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
            _store([event for line in lines[at : at + BATCH] if (event := self._parse(line))], self._journal)
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


def _store(events: Sequence[UsageEvent], journal: Journal) -> None:
    """Puts ``events`` in the database together; one that the database refuses is put aside alone."""
    try:
        records = [_to_record(event) for event in events]
        # Durable: inside somebody's transaction, a rollback would take what the journal has given up.
        with transaction.atomic(durable=True):
            _insert(records)
            _keep_contents(events)
            _note_use_of_keys(events)
    except (DataError, IntegrityError, OverflowError, ValueError) as error:
        if len(events) == 1:
            logger.error("The database refuses a usage record (%s): %s", error, events[0])
            journal.refuse(events[0].to_line())
            return
        half = len(events) // 2
        _store(events[:half], journal)
        _store(events[half:], journal)


def _insert(records: Sequence[UsageRecord]) -> None:
    UsageRecord.objects.bulk_create(records, ignore_conflicts=True)
    # What is ignored should be second copies. SQLite also ignores rows that break any other rule.
    request_ids = {record.request_id for record in records}
    if UsageRecord.objects.filter(request_id__in=request_ids).count() < len(request_ids):
        raise IntegrityError("a field is out of its range")


def _keep_contents(events: Sequence[UsageEvent]) -> None:
    kept = [
        RequestContent(
            request_id=event.request_id,
            project_id=event.project_id or 0,
            started_at=event.started_at,
            sealed=event.content,
        )
        for event in events
        if event.content
    ]
    RequestContent.objects.bulk_create(kept, ignore_conflicts=True)


def _to_record(event: UsageEvent) -> UsageRecord:
    fields = _fields_of(event)
    del fields["address"], fields["content"]  # kept elsewhere
    record = UsageRecord(**fields)
    if event.project_id is None:
        record.project_id = _project_of(event)
    for field in _TEXTS:
        # The model's name is whatever the caller sent: too long, or not even text.
        text = getattr(record, field.name).replace("\0", "").encode(errors="replace").decode()
        setattr(record, field.name, text[: field.max_length])
    return record


def _project_of(event: UsageEvent) -> int:
    """0: nobody knows any more."""
    key = event.key_id and ApiKey.objects.filter(pk=event.key_id).first()
    personal = Project.objects.filter(personal_of_id=event.user_id).first()
    return key.project_id if key else personal.pk if personal else 0


def _note_use_of_keys(events: Sequence[UsageEvent]) -> None:
    latest: dict[int, UsageEvent] = {}
    for event in events:
        if event.key_id is not None:
            latest[event.key_id] = max(event, latest.get(event.key_id, event), key=lambda e: e.started_at)
    for key_id, event in latest.items():
        ApiKey.objects.filter(Q(last_used_at=None) | Q(last_used_at__lt=event.started_at), pk=key_id).update(
            last_used_at=event.started_at, last_used_ip=event.address or None
        )


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
