"""Puts usage in the database: records, what was said, and when keys were used last."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from django.db import DataError, IntegrityError, connection, models, transaction

from apikeys.models import ApiKey, Project, RequestContent, UsageRecord
from apikeys.statements import in_database
from apikeys.usage.event import UsageEvent
from apikeys.usage.journal import Journal

_TEXTS = [field for field in UsageRecord._meta.fields if isinstance(field, models.CharField)]
# The ORM would take as long for the keys of a batch as for its records.
_NOTE_USE = (
    "UPDATE apikeys_apikey SET last_used_at = %s, last_used_ip = %s"
    " WHERE id = %s AND (last_used_at IS NULL OR last_used_at < %s)"
)

logger = logging.getLogger(__name__)


def store(events: Sequence[UsageEvent], journal: Journal) -> None:
    """Puts ``events`` in the database together; one that the database refuses is put aside alone."""
    try:
        records = [to_record(event) for event in events]
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
        store(events[:half], journal)
        store(events[half:], journal)


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


def to_record(event: UsageEvent) -> UsageRecord:
    fields = event.fields()
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
    for event in sorted(events, key=lambda event: event.started_at):
        if event.key_id is not None:
            latest[event.key_id] = event
    # In one order: two processes that wait for each other's rows would wait for ever.
    uses = [_use_of(key_id, latest[key_id]) for key_id in sorted(latest)]
    with connection.cursor() as cursor:
        cursor.executemany(_NOTE_USE, uses)


def _use_of(key_id: int, event: UsageEvent) -> tuple[Any, ...]:
    """The values of _NOTE_USE."""
    at = in_database(ApiKey, "last_used_at", event.started_at)
    return at, in_database(ApiKey, "last_used_ip", event.address or None), key_id, at
