"""One database of ``benchmarks.usage``: filled with few records and with many, and measured each time."""

from __future__ import annotations

import gc
import json
import os
import random
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import django

from tests.services import share

os.environ.update(share(Path(os.environ["DATA_DIR"])))  # a database of its own, where there are services
django.setup()

from django.contrib.auth import get_user_model  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connection  # noqa: E402
from django.test import Client  # noqa: E402

from apikeys.models import ApiKey, UsageRecord, UsageRollup  # noqa: E402
from apikeys.tasks import BATCH, BREATH, prune_batch  # noqa: E402
from apikeys.usage import listing, queries, recording, rollups  # noqa: E402
from apikeys.usage.filters import UsageFilters, parse_filters  # noqa: E402
from apikeys.usage.journal import Journal  # noqa: E402
from apikeys.usage.store import store  # noqa: E402
from benchmarks.usage_fill import DAY, MODELS, Caller, Traffic, fill, make_callers  # noqa: E402

FEW = 10_000  # records that inserts are compared with
INSERTS, BATCHES = 20, 20  # that are timed
QUERIES = 30  # runs of each query, for another person each time
WRITES, PAGES = 200, 20
FRESH = 5_000  # records that no rollup counts yet: what comes in a minute of a busy site

Row = dict[str, Any]
NOWHERE = Journal(Path("/nonexistent"))


class Site:
    """A database with people and keys, whose days are all alike."""

    def __init__(self, database: str) -> None:
        call_command("migrate", verbosity=0, skip_checks=True)
        self._database = database
        self._today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        self._traffic = Traffic(make_callers())
        self._administrator = Client(headers={"host": "localhost"})
        self._administrator.force_login(
            get_user_model().objects.create_superuser("administrator@example.com")
        )
        self.rows: list[Row] = []

    def fill(self, records: int) -> None:
        fill(self._traffic, records, self._today, self._database)

    def measure(self) -> None:
        gc.collect()
        gc.freeze()  # as a server does that is ready
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA synchronous=FULL" if connection.vendor == "sqlite" else "SELECT 1")
        self._records = UsageRecord.objects.count()
        self._time_inserts()
        self._time_upkeep()
        store(self._traffic.events(self._today, FRESH), NOWHERE)
        choose = random.Random(9)
        for what, wanted in asked_for(choose, self._traffic.callers):
            for name, query in QUERIES_OF_THE_PAGE.items():
                self._note("query", f"{name}, {what}", [timed(query, wanted()) for _ in range(QUERIES)])
        for what, query in pages_asked_for():
            self._note("page", f"usage page, {what}", [timed(self._load_page, query) for _ in range(PAGES)])

    def _time_inserts(self) -> None:
        for size in (1, recording.BATCH):
            batches = [self._traffic.events(self._today, size) for _ in range(INSERTS)]
            times = [timed(store, each, NOWHERE) for each in batches]
            self._note("insert", f"insert {size}", times)

    def _time_upkeep(self) -> None:
        """And what others wait for the write lock meanwhile."""
        self._note("upkeep", f"roll up {BATCH}", [timed(rollups.roll_up, BATCH) for _ in range(BATCHES)])
        old = UsageRecord.objects.filter(started_at__lt=self._today - 60 * DAY, rolled_up=True)
        self._note("upkeep", f"prune {BATCH}", [timed(prune_batch, old) for _ in range(BATCHES)])
        self._note("write", "a write beside rolling up", writes_beside(lambda: rollups.roll_up(BATCH)))
        self._note("write", "a write beside pruning", writes_beside(lambda: prune_batch(old)))
        while rollups.roll_up(20_000):
            pass

    def _load_page(self, query: str) -> None:
        answer = self._administrator.get(f"/console/usage/?{query}")
        assert answer.status_code == 200, answer.status_code

    def _note(self, kind: str, what: str, times: list[float]) -> None:
        self.rows.append(
            {
                "database": self._database,
                "records": self._records,
                "kind": kind,
                "what": what,
                "p50_ms": round(statistics.median(times), 3),
                "p95_ms": round(statistics.quantiles(times, n=20)[-1], 3),
            }
        )


QUERIES_OF_THE_PAGE: dict[str, Callable[[UsageFilters], object]] = {
    "summary": queries.usage_summary,
    "series": queries.usage_series,
    "by key": queries.usage_by_key,
    "by model": queries.usage_by_model,
    "by project": queries.usage_by_project,
    "latest": lambda filters: listing.usage_latest(filters, 10),
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
    yield "everybody with one model, 90d", lambda: of(None, range="90d", model=choose.choice(MODELS))
    yield "a source that nobody used, 90d", lambda: of(None, range="90d", source="playground")


def pages_asked_for() -> list[tuple[str, str]]:
    return [(f"everybody, {name}", f"people=all&range={name}") for name in ("24h", "90d")]


def writes_beside(upkeep: Callable[[], int]) -> list[float]:
    """Milliseconds that small writes take while ``upkeep`` goes on in another thread, with its pauses."""
    enough = threading.Event()

    def work() -> None:
        while not enough.is_set() and upkeep():
            enough.wait(BREATH)
        connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    times = []
    while thread.is_alive() and len(times) < WRITES:
        times.append(timed(write, len(times)))
        time.sleep(0.007)  # at no fixed moment of a batch
    enough.set()
    thread.join()
    return times


def write(number: int) -> None:
    """What a page does that changes a key."""
    ApiKey.objects.filter(pk=number + 1).update(notes="beside")


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
