"""Adds records to rollups, each record once, however often and by how many processes this is run.

A record is added in the transaction that marks it as rolled up: it is either fresh or in its rollups, never
both or neither. A rollup's id says what it is of.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from django.contrib.contenttypes.models import ContentType
from django.db import connection, transaction

from apikeys.models import NOT_ROLLED_UP, SUMS, UsageRecord, UsageRollup, Width
from apikeys.statements import in_database
from apikeys.usage.sketches import Sketch
from apikeys.usage.spans import begin_of
from apikeys.usage.totals import Totals, totals_of

_NAMESPACE = uuid.UUID("5f1f4b3e-6a0c-4a57-9d0e-3c1b7f0a9d52")


@dataclass(frozen=True, slots=True)
class Whose:
    """What a rollup is of. ``user_id`` None: of everybody together, whatever their projects and keys."""

    width: Width
    start: datetime
    user_id: int | None
    project_id: int | None
    key_id: int | None
    source: str
    model: str

    @property
    def id(self) -> uuid.UUID:
        parts = (self.width, self.start.isoformat(), self.user_id, self.project_id, self.key_id)
        return uuid.uuid5(_NAMESPACE, "|".join(map(str, (*parts, self.source, self.model))))


@dataclass(slots=True)
class Tally:
    """What is added to one rollup."""

    totals: Totals = field(default_factory=Totals)
    durations: Sketch = field(default_factory=Sketch)
    ttfts: Sketch = field(default_factory=Sketch)

    def count(self, record: UsageRecord) -> None:
        self.totals += totals_of(record)
        if record.status < 400:
            self.durations.add(record.duration_ms)
            if record.ttft_ms is not None:
                self.ttfts.add(record.ttft_ms)

    def merge(self, other: Tally) -> None:
        self.totals += other.totals
        self.durations.merge(other.durations)
        self.ttfts.merge(other.ttfts)


Tallies = Mapping[Whose, Tally]
Values = Sequence[Any]  # of one statement


def roll_up(limit: int) -> int:
    """Adds at most ``limit`` fresh records to their rollups. How many those were."""
    fresh = UsageRecord.objects.filter(NOT_ROLLED_UP).order_by("started_at")
    while records := list(fresh[:limit]):
        if _add(records, _tallies(records)):
            break
    return len(records)


def _tallies(records: Iterable[UsageRecord]) -> dict[Whose, Tally]:
    """Of every width, of every caller, and of everybody together."""
    tallies: dict[Whose, Tally] = {}
    for record in records:
        tallies.setdefault(_minute_of(record), Tally()).count(record)
    callers = dict(tallies)
    for width in ("hour", "day", "week"):
        tallies = _merged(tallies, partial(_widened, width=width))
        callers |= tallies
    together = _merged(callers, lambda whose: replace(whose, user_id=None, project_id=None, key_id=None))
    return callers | together


def _minute_of(record: UsageRecord) -> Whose:
    start = begin_of(record.started_at.astimezone(UTC), "minute")
    caller = (record.user_id, record.project_id, record.key_id)
    return Whose("minute", start, *caller, record.source, record.model)


def _widened(whose: Whose, width: Width) -> Whose:
    return replace(whose, width=width, start=begin_of(whose.start, width))


def _merged(tallies: Tallies, wider: Callable[[Whose], Whose]) -> dict[Whose, Tally]:
    merged: dict[Whose, Tally] = {}
    for whose, tally in tallies.items():
        merged.setdefault(wider(whose), Tally()).merge(tally)
    return merged


def _add(records: list[UsageRecord], tallies: Tallies) -> bool:
    """False, with nothing added, when another process has meanwhile rolled up some of ``records``, or others
    into the same rollups. All that takes time is done before the write lock is taken."""
    by_id = {whose.id: (whose, tally) for whose, tally in tallies.items()}
    known = UsageRollup.objects.in_bulk(list(by_id))
    changed = [_change(rollup, by_id[rollup.pk][1]) for rollup in known.values()]
    added = [_row(pk, whose, tally) for pk, (whose, tally) in by_id.items() if pk not in known]
    with transaction.atomic():
        _lock()
        fresh = UsageRecord.objects.filter(NOT_ROLLED_UP, pk__in=[record.pk for record in records])
        alone = (
            fresh.update(rolled_up=True) == len(records) and _write(_CHANGE, changed) and _write(_ADD, added)
        )
        transaction.set_rollback(not alone)
    return alone


def _lock() -> None:
    """One process adds at a time. SQLite lets one writer in anyway; elsewhere this row, which always exists,
    is the lock."""
    ContentType.objects.select_for_update().get(app_label="apikeys", model="usagerollup")


_TABLE = UsageRollup._meta.db_table
_NAMED = ("id", *Whose.__slots__)
_ADDED_UP = (*SUMS, "durations", "ttfts")
_VALUES = ", ".join(["%s"] * (len(_NAMED) + len(_ADDED_UP)))
_ADD = f"INSERT INTO {_TABLE} ({', '.join(_NAMED + _ADDED_UP)}) VALUES ({_VALUES}) ON CONFLICT DO NOTHING"  # noqa: S608
# As it was when it was read: requests grow whenever something is added.
_CHANGE = f"UPDATE {_TABLE} SET {' = %s, '.join(_ADDED_UP)} = %s WHERE id = %s AND requests = %s"  # noqa: S608


def _write(statement: str, rows: Sequence[Values]) -> bool:
    """Whether every one of ``rows`` was written. The ORM would hold the write lock several times as long."""
    if not rows:
        return True
    with connection.cursor() as cursor:
        cursor.executemany(statement, rows)
        return bool(cursor.rowcount == len(rows))


def _change(rollup: UsageRollup, tally: Tally) -> Values:
    """The values of _CHANGE."""
    sums = [getattr(rollup, name) + getattr(tally.totals, name) for name in SUMS]
    for name in ("durations", "ttfts"):
        getattr(tally, name).merge_packed(bytes(getattr(rollup, name)))
    return (*sums, *_packed(tally), in_database(UsageRollup, "id", rollup.pk), rollup.requests)


def _row(identity: uuid.UUID, whose: Whose, tally: Tally) -> Values:
    """The values of _ADD."""
    named = [in_database(UsageRollup, name, getattr(whose, name)) for name in Whose.__slots__]
    sums = [getattr(tally.totals, name) for name in SUMS]
    return (in_database(UsageRollup, "id", identity), *named, *sums, *_packed(tally))


def _packed(tally: Tally) -> tuple[bytes, bytes]:
    return tally.durations.pack(), tally.ttfts.pack()
