"""What dashboards show of usage.

Counts are rollups plus the records that no rollup counts yet: exact at any moment, quick at any size, and
still there after the records were pruned. Latencies and the list of requests come from the records alone.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import F, Q, QuerySet
from django.db.models.expressions import Combinable
from django.db.models.functions import TruncDay, TruncHour

from apikeys.filters import DAY, HOUR, UsageFilters
from apikeys.models import NOT_ROLLED_UP, ApiKey, UsageRecord, UsageRollup
from apikeys.totals import SUMS_OF_RECORDS, SUMS_OF_ROLLUPS, Totals, group


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds, over successful requests whose records are still kept. None: there were none."""

    p50: int | None
    p95: int | None


@dataclass(frozen=True, slots=True)
class Summary:
    totals: Totals
    duration: Latency
    ttft: Latency


@dataclass(frozen=True, slots=True)
class Point:
    start: datetime
    totals: Totals


@dataclass(frozen=True, slots=True)
class KeyUsage:
    """``key`` is None for the playground, and for a key whose row is gone."""

    key_id: int | None
    key: ApiKey | None
    totals: Totals


@dataclass(frozen=True, slots=True)
class ModelUsage:
    model: str
    totals: Totals


def usage_summary(filters: UsageFilters) -> Summary:
    return Summary(
        totals=sum(_totals_by(filters, "source").values(), Totals()),
        duration=_latency(filters, "duration_ms"),
        ttft=_latency(filters, "ttft_ms"),
    )


def usage_series(filters: UsageFilters) -> list[Point]:
    """One point for every hour or day (``filters.step``) of the period, those without usage too."""
    width: timedelta = HOUR if filters.step == "hour" else DAY
    totals = _totals_by(filters, filters.step)
    count = (filters.end - filters.start) // width
    starts = [filters.start + number * width for number in range(count)]
    return [Point(start, totals.get(start, Totals())) for start in starts]


def usage_by_key(filters: UsageFilters) -> list[KeyUsage]:
    """The busiest first."""
    totals = _totals_by(filters, "key_id")
    keys = ApiKey.objects.in_bulk([key_id for key_id in totals if key_id is not None])
    rows = [KeyUsage(key_id, keys.get(key_id), subtotal) for key_id, subtotal in totals.items()]
    return sorted(rows, key=lambda row: row.totals.requests, reverse=True)


def usage_by_model(filters: UsageFilters) -> list[ModelUsage]:
    """The busiest first."""
    rows = [ModelUsage(model, subtotal) for model, subtotal in _totals_by(filters, "model").items()]
    return sorted(rows, key=lambda row: row.totals.requests, reverse=True)


def usage_records(filters: UsageFilters) -> QuerySet[UsageRecord]:
    """The records themselves, the newest first."""
    return _records(filters).select_related("key").order_by("-started_at", "-pk")


CSV_COLUMNS = (
    "request_id", "started_at", "key", "source", "endpoint", "model", "prompt_tokens", "completion_tokens",
    "status", "finish_reason", "error_code", "ttft_ms", "duration_ms", "stream",
)  # fmt: skip


async def usage_csv(filters: UsageFilters) -> AsyncIterator[str]:
    """The records as CSV text with a header line, in pieces, the newest first."""
    yield _csv_text([CSV_COLUMNS])
    rows = []
    async for record in usage_records(filters).aiterator(chunk_size=1000):
        rows.append([_csv_cell(record, column) for column in CSV_COLUMNS])
        if len(rows) == 1000:
            yield _csv_text(rows)
            rows = []
    yield _csv_text(rows)


def _csv_cell(record: UsageRecord, column: str) -> object:
    if column == "started_at":
        return record.started_at.isoformat(timespec="milliseconds")
    value = getattr(record, column)
    # A spreadsheet would run text that starts like this as a formula.
    return f"'{value}" if str(value).startswith(("=", "+", "-", "@", "\t")) else value


def _csv_text(rows: Iterable[Iterable[object]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer).writerows(rows)
    return buffer.getvalue()


def _records(filters: UsageFilters) -> QuerySet[UsageRecord]:
    queryset = UsageRecord.objects.filter(started_at__gte=filters.start, started_at__lt=filters.end)
    return queryset.filter(_who_and_what(filters))


def _rollups(filters: UsageFilters) -> QuerySet[UsageRollup]:
    queryset = UsageRollup.objects.filter(hour__gte=filters.start, hour__lt=filters.end)
    return queryset.filter(_who_and_what(filters))


def _who_and_what(filters: UsageFilters) -> Q:
    wanted = {
        "user_id": filters.user_id,
        "key_id": filters.key_id,
        "model": filters.model or None,
        "source": filters.source or None,
    }
    return Q(**{field: value for field, value in wanted.items() if value is not None})


def _totals_by(filters: UsageFilters, name: str) -> dict[Any, Totals]:
    """Totals for each value of ``name``: a field that records and rollups share, ``hour`` or ``day``."""
    rolled_up = group(_rollups(filters), SUMS_OF_ROLLUPS, group=_expression(name, "hour"))
    fresh = _records(filters).filter(NOT_ROLLED_UP)
    not_rolled_up = group(fresh, SUMS_OF_RECORDS, group=_expression(name, "started_at"))
    totals: dict[Any, Totals] = {}
    # One statement sees one moment: between two, a rollup could move records from one side to the other.
    for value, *sums in rolled_up.union(not_rolled_up, all=True):
        totals[value] = totals.get(value, Totals()) + Totals(*sums)
    return totals


def _expression(name: str, time_field: str) -> Combinable:
    match name:
        case "hour":
            return TruncHour(time_field, tzinfo=UTC)
        case "day":
            return TruncDay(time_field, tzinfo=UTC)
        case _:
            return F(name)


def _latency(filters: UsageFilters, field: str) -> Latency:
    """Percentiles by the nearest-rank method: values that some request really took."""
    values = (
        _records(filters).filter(status__lt=400, **{f"{field}__isnull": False}).order_by(field)
        .values_list(field, flat=True)
    )  # fmt: skip
    count = values.count()
    if not count:
        return Latency(None, None)
    ranks = [math.ceil(count * percent / 100) for percent in (50, 95)]
    # Slices, because pruning may have taken some of them since they were counted.
    return Latency(*(next(iter(values[rank - 1 : rank]), None) for rank in ranks))
