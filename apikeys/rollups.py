"""Adds records to rollups, each record once, however often and by how many processes this is run.

A record is added in the transaction that marks it as rolled up: it is either fresh or in its rollups, never
both or neither. A rollup's id says what it is of.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from django.contrib.contenttypes.models import ContentType
from django.db import transaction

from apikeys.models import NOT_ROLLED_UP, SUMS, UsageRecord, UsageRollup, Width
from apikeys.sketches import Sketch
from apikeys.totals import Totals, totals_of

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


def roll_up(limit: int) -> int:
    """Adds at most ``limit`` fresh records to their rollups. How many those were."""
    fresh = UsageRecord.objects.filter(NOT_ROLLED_UP).order_by("started_at")
    while records := list(fresh[:limit]):
        if _add(records, _tallies(records)):
            break
    return len(records)


def _tallies(records: Iterable[UsageRecord]) -> dict[Whose, Tally]:
    """By minute, hour and day; of every caller, and of everybody together."""
    minutes: dict[Whose, Tally] = {}
    for record in records:
        minutes.setdefault(_minute_of(record), Tally()).count(record)
    hours = _merged(minutes, lambda whose: replace(whose, width="hour", start=whose.start.replace(minute=0)))
    days = _merged(hours, lambda whose: replace(whose, width="day", start=whose.start.replace(hour=0)))
    callers = minutes | hours | days
    together = _merged(callers, lambda whose: replace(whose, user_id=None, project_id=None, key_id=None))
    return callers | together


def _minute_of(record: UsageRecord) -> Whose:
    start = record.started_at.astimezone(UTC).replace(second=0, microsecond=0)
    caller = (record.user_id, record.project_id, record.key_id)
    return Whose("minute", start, *caller, record.source, record.model)


def _merged(tallies: Tallies, coarser: Callable[[Whose], Whose]) -> dict[Whose, Tally]:
    merged: dict[Whose, Tally] = {}
    for whose, tally in tallies.items():
        merged.setdefault(coarser(whose), Tally()).merge(tally)
    return merged


def _add(records: list[UsageRecord], tallies: Tallies) -> bool:
    """False, with nothing added, when another process has rolled up some of ``records`` meanwhile."""
    with transaction.atomic():
        _lock()
        fresh = UsageRecord.objects.filter(NOT_ROLLED_UP, pk__in=[record.pk for record in records])
        if fresh.update(rolled_up=True) < len(records):
            transaction.set_rollback(True)
            return False
        _store(tallies)
    return True


def _lock() -> None:
    """One process adds at a time. SQLite lets one writer in anyway; elsewhere this row, which always exists,
    is the lock."""
    ContentType.objects.select_for_update().get(app_label="apikeys", model="usagerollup")


def _store(tallies: Tallies) -> None:
    by_id = {whose.id: (whose, tally) for whose, tally in tallies.items()}
    known = UsageRollup.objects.in_bulk(list(by_id))
    rollups = [known.get(each) or _new(each, whose) for each, (whose, _) in by_id.items()]
    for rollup in rollups:
        _merge_into(rollup, by_id[rollup.pk][1])
    UsageRollup.objects.bulk_create(
        rollups,
        update_conflicts=True,
        unique_fields=["id"],
        update_fields=[*SUMS, "durations", "ttfts"],
    )


def _new(identity: uuid.UUID, whose: Whose) -> UsageRollup:
    return UsageRollup(id=identity, **{name: getattr(whose, name) for name in Whose.__slots__})


def _merge_into(rollup: UsageRollup, tally: Tally) -> None:
    for name in SUMS:
        setattr(rollup, name, getattr(rollup, name) + getattr(tally.totals, name))
    for name in ("durations", "ttfts"):
        sketch = Sketch(bytes(getattr(rollup, name)))
        sketch.merge(getattr(tally, name))
        setattr(rollup, name, sketch.pack())
