"""A database with ninety days of usage, made as quickly as the database can: one day request by request, the
others as copies of it that the database makes itself, and all but the ordered indexes afterwards."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import accumulate
from typing import Any

from django.contrib.auth import get_user_model
from django.db import connection, models, transaction

from apikeys.models import SUMS, ApiKey, Project, UsageRecord, UsageRollup
from apikeys.usage import rollups
from apikeys.usage.event import UsageEvent
from apikeys.usage.store import to_record
from benchmarks.report import show_progress

DAYS = 90
DAY = timedelta(days=1)
PEOPLE, KEYS_EACH = 500, 2
MODELS = ("smollm2-135m-instruct", "qwen-32b", "llama-70b", "bge-m3")
STEPS = DAYS + 3  # of the progress bar


@dataclass(frozen=True)
class Caller:
    user_id: int
    project_id: int
    key_id: int


class Traffic:
    """Requests of ``callers``, the busiest first, by Zipf's law."""

    def __init__(self, callers: list[Caller]) -> None:
        self.callers = callers
        self._weights = list(accumulate(1 / rank for rank in range(1, len(callers) + 1)))
        self._choose = random.Random(5)

    def events(self, day: datetime, count: int) -> list[UsageEvent]:
        """Spread over the day."""
        return [self._event(day + number * DAY / count) for number in range(count)]

    def _event(self, started_at: datetime) -> UsageEvent:
        choose = self._choose
        [caller] = choose.choices(self.callers, cum_weights=self._weights)
        tokens, duration = choose.randint(1, 900), int(choose.lognormvariate(6.5, 1))
        status = 200 if choose.random() < 0.97 else choose.choice((429, 499, 500))
        return UsageEvent(
            request_id=f"req-{int(started_at.timestamp() * 1000):012x}{choose.getrandbits(80):020x}",
            user_id=caller.user_id,
            key_id=caller.key_id,
            project_id=caller.project_id,
            source="api",
            endpoint="/v1/chat/completions",
            model=MODELS[(caller.key_id + (choose.random() < 0.1)) % len(MODELS)],
            prompt_tokens=tokens,
            completion_tokens=tokens // 3,
            status=status,
            finish_reason="stop" if status == 200 else "",
            error_code="" if status == 200 else "internal_error",
            started_at=started_at,
            ttft_ms=duration // 9,
            duration_ms=duration,
            stream=True,
            cost_nanos=tokens * 150,
            queue_ms=1,
            prefill_ms=duration // 10,
            decode_ms=duration * 8 // 10,
            compute_us=duration * 300,
        )


def fill(traffic: Traffic, records: int, today: datetime, name: str) -> None:
    """In the order of time, up to yesterday, rolled up, without the minutes that a site would have pruned."""
    for model in (UsageRecord, UsageRollup):
        model.objects.all()._raw_delete(connection.alias)  # type: ignore[attr-defined]
        change_indexes(model, "remove_index")

    def progress(step: int) -> None:
        show_progress(step, STEPS, f"{name}: {records:,} records")

    first = today - DAYS * DAY
    a_day = [to_record(event) for event in traffic.events(first, records // DAYS)]
    write(UsageRecord, ({**record.__dict__, "rolled_up": True} for record in a_day))
    tallies = {whose: tally for whose, tally in rollups._tallies(a_day).items() if whose.width != "minute"}
    days_and_hours = {whose: tally for whose, tally in tallies.items() if whose.width != "week"}
    write(UsageRollup, rows_of(days_and_hours))
    progress(1)
    for number in range(1, DAYS):
        copy_day(UsageRecord, "started_at", first, number)
        copy_day(UsageRollup, "start", first, number)
        progress(number + 1)
    write(UsageRollup, rows_of(weeks_of(tallies)))
    progress(STEPS - 2)
    for step, model in ((STEPS - 1, UsageRecord), (STEPS, UsageRollup)):
        change_indexes(model, "add_index")
        progress(step)
    tidy()


def tidy() -> None:
    """What a database that grew over ninety days has long done by itself."""
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE" if connection.vendor == "postgresql" else "ANALYZE")
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def change_indexes(model: type[models.Model], change: str) -> None:
    with connection.schema_editor() as editor:
        for index in model._meta.indexes:
            getattr(editor, change)(model, index)


def weeks_of(tallies: rollups.Tallies) -> rollups.Tallies:
    """The days of ``tallies``, ninety times, in weeks."""
    days = [(whose, tally) for whose, tally in tallies.items() if whose.width == "day"]
    weeks: dict[rollups.Whose, rollups.Tally] = {}
    for number in range(DAYS):
        for whose, tally in days:
            day = replace(whose, start=whose.start + number * DAY)
            weeks.setdefault(rollups._widened(day, "week"), rollups.Tally()).merge(tally)
    return weeks


def rows_of(tallies: rollups.Tallies) -> Iterator[dict[str, Any]]:
    for whose, tally in tallies.items():
        sums = {name: getattr(tally.totals, name) for name in SUMS}
        sketches = {"durations": tally.durations.pack(), "ttfts": tally.ttfts.pack()}
        named = {name: getattr(whose, name) for name in rollups.Whose.__slots__}
        yield {"id": whose.id, **named, **sums, **sketches}


def write(model: type[models.Model], rows: Iterable[dict[str, Any]]) -> None:
    """Past the ORM, which takes ten times as long. ``rows``: values by the names of columns."""
    fields = fields_of(model)
    columns = ", ".join(field.attname for field in fields)
    values = ([prepared(row[field.attname]) for field in fields] for row in rows)
    with transaction.atomic(), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            with cursor.copy(f"COPY {model._meta.db_table} ({columns}) FROM STDIN") as copy:
                for row in values:
                    copy.write_row(row)
        else:
            marks = ", ".join(["%s"] * len(fields))
            cursor.executemany(f"INSERT INTO {model._meta.db_table} ({columns}) VALUES ({marks})", values)  # noqa: S608


def fields_of(model: type[models.Model]) -> list[Any]:
    """Without the number that the database gives a record."""
    return [field for field in model._meta.fields if field.attname != "id" or model is UsageRollup]


def prepared(value: Any) -> Any:
    """As the database's driver wants it."""
    if connection.vendor == "sqlite":
        if isinstance(value, datetime):
            return value.replace(tzinfo=None).isoformat(" ")
        if isinstance(value, uuid.UUID):
            return value.hex
    return value


def copy_day(model: type[models.Model], when: str, first: datetime, later: int) -> None:
    """The rows of the day ``first``, ``later`` days later. Their ids say no more what they are of."""
    changed = COPIES[connection.vendor](when, later)
    fields = [field.attname for field in fields_of(model)]
    values = ", ".join(changed.get(field, field) for field in fields)
    day_after = prepared(first + DAY)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {model._meta.db_table} ({', '.join(fields)}) SELECT {values}"  # noqa: S608
            f" FROM {model._meta.db_table} WHERE {when} < %s ORDER BY {when}",
            [day_after],
        )


def _in_sqlite(when: str, later: int) -> dict[str, str]:
    millis = f"strftime('%%s', {when}) * 1000 + {later * 86_400_000}"
    return {
        "id": "lower(hex(randomblob(16)))",
        "request_id": f"'req-' || printf('%%012x', {millis}) || lower(hex(randomblob(10)))",
        when: f"date({when}, '+{later} days') || substr({when}, 11)",
    }


def _in_postgresql(when: str, later: int) -> dict[str, str]:
    millis = f"(extract(epoch from {when}) * 1000)::bigint + {later * 86_400_000}"
    return {
        "id": "gen_random_uuid()",
        "request_id": f"'req-' || lpad(to_hex({millis}), 12, '0') || substr(md5(random()::text), 1, 20)",
        when: f"{when} + interval '{later} days'",
    }


COPIES: dict[str, Callable[[str, int], dict[str, str]]] = {"sqlite": _in_sqlite, "postgresql": _in_postgresql}


def make_callers() -> list[Caller]:
    """The busiest first."""
    people = get_user_model().objects
    for number in range(PEOPLE):
        people.create_user(f"person-{number}@example.com")
    projects = dict(Project.objects.values_list("personal_of_id", "pk"))
    keys = [
        ApiKey(owner_id=user_id, project_id=project_id, name="bench", prefix=f"oag-{user_id}-{at}", hash="")
        for user_id, project_id in projects.items()
        for at in range(KEYS_EACH)
    ]
    ApiKey.objects.bulk_create(keys)
    return [Caller(key.owner_id, key.project_id, key.pk) for key in ApiKey.objects.order_by("pk")]
