"""One database of ``benchmarks.usage``: filled with few records and with many, and measured each time."""

from __future__ import annotations

import json
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from pathlib import Path
from typing import Any

import django

from tests.services import share

os.environ.update(share(Path(os.environ["DATA_DIR"])))  # a database of its own, where there are services
django.setup()

from django.contrib.auth import get_user_model  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connection, models, transaction  # noqa: E402

from apikeys import queries, rollups, usage  # noqa: E402
from apikeys.filters import UsageFilters, parse_filters  # noqa: E402
from apikeys.journal import Journal  # noqa: E402
from apikeys.models import SUMS, ApiKey, Project, UsageRecord, UsageRollup  # noqa: E402
from apikeys.tasks import BATCH, MINUTES_KEPT  # noqa: E402
from benchmarks.report import show_progress  # noqa: E402

DAYS = 90
DAY = timedelta(days=1)
FEW = 10_000  # records that inserts are compared with
PEOPLE, KEYS_EACH = 500, 2
MODELS = ("smollm2-135m-instruct", "qwen-32b", "llama-70b", "bge-m3")
INSERTS, ROLLUPS = 20, 20  # batches that are timed
QUERIES = 30  # runs of each query, for another person each time
FRESH = 5_000  # records that no rollup counts yet: what comes in a minute of a busy site

Row = dict[str, Any]
NOWHERE = Journal(Path("/nonexistent"))


@dataclass(frozen=True)
class Caller:
    user_id: int
    project_id: int
    key_id: int


class Site:
    """A database with people and keys, whose days are all alike."""

    def __init__(self, database: str) -> None:
        call_command("migrate", verbosity=0, skip_checks=True)
        self._database = database
        self._today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        self._choose = random.Random(5)
        self._callers = make_callers()
        self._weights = list(accumulate(1 / rank for rank in range(1, len(self._callers) + 1)))
        self.rows: list[Row] = []

    def fill(self, records: int) -> None:
        """In the order of time, up to yesterday, with their rollups."""
        UsageRecord.objects.all()._raw_delete(connection.alias)  # type: ignore[attr-defined]
        UsageRollup.objects.all()._raw_delete(connection.alias)  # type: ignore[attr-defined]
        a_day = [usage._to_record(event) for event in self.events(self._today, records // DAYS)]
        tallies = rollups._tallies(a_day)
        for number in range(DAYS):
            shift = (DAYS - number) * DAY
            write(UsageRecord, (self._earlier(record, shift) for record in a_day))
            write(UsageRollup, self._shifted(tallies, shift))
            show_progress(number + 1, DAYS, f"{self._database}: {records:,} records")

    def measure(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA synchronous=FULL" if connection.vendor == "sqlite" else "SELECT 1")
            cursor.execute("ANALYZE")
        self._time_writes()
        usage._store(self.events(self._today, FRESH), NOWHERE)
        choose = random.Random(9)
        for what, wanted in asked_for(choose, self._callers):
            for name, query in QUERIES_OF_THE_PAGE.items():
                self._note("query", f"{name}, {what}", [timed(query, wanted()) for _ in range(QUERIES)])

    def events(self, day: datetime, count: int) -> list[usage.UsageEvent]:
        """Spread over the day."""
        return [self._event(day + number * DAY / count) for number in range(count)]

    def _time_writes(self) -> None:
        batches = [self.events(self._today, usage.BATCH) for _ in range(INSERTS)]
        self._note(
            "insert", f"insert {usage.BATCH}", [timed(usage._store, each, NOWHERE) for each in batches]
        )
        self._note("roll up", f"roll up {BATCH}", [timed(rollups.roll_up, BATCH) for _ in range(ROLLUPS)])
        while rollups.roll_up(20_000):
            pass

    def _event(self, started_at: datetime) -> usage.UsageEvent:
        choose = self._choose
        [caller] = choose.choices(self._callers, cum_weights=self._weights)
        tokens, duration = choose.randint(1, 900), int(choose.lognormvariate(6.5, 1))
        status = 200 if choose.random() < 0.97 else choose.choice((429, 499, 500))
        return usage.UsageEvent(
            request_id=self._request_id(started_at),
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

    def _request_id(self, at: datetime) -> str:
        return f"req-{int(at.timestamp() * 1000):012x}{self._choose.getrandbits(80):020x}"

    def _earlier(self, record: UsageRecord, shift: timedelta) -> Row:
        then = record.started_at - shift
        return {
            **record.__dict__,
            "started_at": then,
            "request_id": self._request_id(then),
            "rolled_up": True,
        }

    def _shifted(self, tallies: rollups.Tallies, shift: timedelta) -> Iterator[Row]:
        """Without the minutes that would have been pruned."""
        for whose, tally in tallies.items():
            if whose.width != "minute" or shift <= MINUTES_KEPT:
                then = replace(whose, start=whose.start - shift)
                sums = {name: getattr(tally.totals, name) for name in SUMS}
                sketches = {"durations": tally.durations.pack(), "ttfts": tally.ttfts.pack()}
                named = {name: getattr(then, name) for name in rollups.Whose.__slots__}
                yield {"id": then.id, **named, **sums, **sketches}

    def _note(self, kind: str, what: str, times: list[float]) -> None:
        self.rows.append(
            {
                "database": self._database,
                "records": UsageRecord.objects.count() if kind != "query" else self.rows[0]["records"],
                "kind": kind,
                "what": what,
                "p50_ms": round(statistics.median(times), 3),
                "p95_ms": round(statistics.quantiles(times, n=20)[-1], 3),
            }
        )


def write(model: type[models.Model], rows: Iterable[Any]) -> None:
    """Past the ORM, which takes ten times as long. ``rows``: values by the names of columns."""
    fields = [field for field in model._meta.fields if field.attname != "id" or model is UsageRollup]
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


def prepared(value: Any) -> Any:
    """As the database's driver wants it."""
    if connection.vendor == "sqlite":
        if isinstance(value, datetime):
            return value.replace(tzinfo=None).isoformat(" ")
        if hasattr(value, "hex") and hasattr(value, "bytes"):
            return value.hex
    return value


QUERIES_OF_THE_PAGE: dict[str, Callable[[UsageFilters], object]] = {
    "summary": queries.usage_summary,
    "series": queries.usage_series,
    "by key": queries.usage_by_key,
    "by model": queries.usage_by_model,
    "by project": queries.usage_by_project,
    "latest": lambda filters: list(queries.usage_records(filters)[:10]),
}


def asked_for(
    choose: random.Random, callers: list[Caller]
) -> Iterator[tuple[str, Callable[[], UsageFilters]]]:
    """What people ask for, each time of another caller."""

    def of(caller: Caller | None, **query: object) -> UsageFilters:
        user_id = None if caller is None else caller.user_id
        return parse_filters({name: str(value) for name, value in query.items()}, user_id)[0]

    for name in ("1h", "24h", "90d"):
        yield f"one person, {name}", lambda name=name: of(choose.choice(callers), range=name)
    yield "the busiest person, 90d", lambda: of(callers[0], range="90d")
    yield "one key, 90d", lambda: of(None, range="90d", key=choose.choice(callers).key_id)
    yield "one project, 90d", lambda: of(None, range="90d", project=choose.choice(callers).project_id)
    yield "everybody, 24h", lambda: of(None, range="24h")
    yield "everybody, 90d", lambda: of(None, range="90d")


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


def timed(call: Callable[..., object], *arguments: object) -> float:
    """In milliseconds."""
    began = time.perf_counter()
    call(*arguments)
    return (time.perf_counter() - began) * 1000


def main(database: str, records: str, result: str) -> None:
    rows: list[Row] = []
    site = Site(database)
    for size in (FEW, int(records)):
        site.rows = []
        site.fill(size)
        site.measure()
        rows += site.rows
    hours = UsageRollup.objects.filter(width="hour").count()
    sys.stderr.write(f"\n{database}: {UsageRollup.objects.count():,} rollups, {hours:,} of them by hour\n")
    Path(result).write_text(json.dumps(rows))


if __name__ == "__main__":
    main(*sys.argv[1:])
