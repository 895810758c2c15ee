"""The requests themselves, the newest first: those that a page lists, and all of them as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Iterable
from datetime import datetime

from django.db.models import QuerySet

from apikeys.models import NOT_ROLLED_UP, WIDTHS, UsageRecord
from apikeys.usage.filters import UsageFilters
from apikeys.usage.selection import is_about_everybody, records_of, rollups_of
from apikeys.usage.spans import Span, begin_of


def usage_records(filters: UsageFilters) -> QuerySet[UsageRecord]:
    return records_of(filters).select_related("key").order_by("-started_at", "-pk")


def usage_latest(filters: UsageFilters, count: int) -> list[UsageRecord]:
    """The first of ``usage_records``. Rollups tell in which hours to look: else a model that is rarely asked
    for would be looked for in all records."""
    records = usage_records(filters)
    fresh = list(records.filter(NOT_ROLLED_UP)[:count])
    rolled_up: list[UsageRecord] = []
    for hour in _latest_hours(filters, count):
        rolled_up += records.filter(started_at__gte=hour, started_at__lt=hour + WIDTHS["hour"])[:count]
        if len(rolled_up) >= count:
            break
    # One that was rolled up meanwhile is in both.
    found = {record.pk: record for record in (*fresh, *rolled_up)}.values()
    return sorted(found, key=lambda record: (record.started_at, record.pk), reverse=True)[:count]


def _latest_hours(filters: UsageFilters, count: int) -> Iterable[datetime]:
    """Those in which ``count`` requests began, or all there are; the newest first."""
    span = Span("hour", begin_of(filters.start, "hour"), filters.end)
    rollups = rollups_of(filters, span, is_about_everybody(filters)).order_by("-start")
    # Each has a request at least.
    return dict.fromkeys(rollups.values_list("start", flat=True)[:count])


CSV_COLUMNS = (
    "request_id", "started_at", "project_id", "key", "source", "endpoint", "model", "prompt_tokens",
    "completion_tokens", "cost", "status", "finish_reason", "error_code", "ttft_ms", "duration_ms",
    "queue_ms", "prefill_ms", "decode_ms", "compute_seconds", "stream",
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
    if column == "cost":
        return f"{record.cost:f}"
    value = getattr(record, column)
    # A spreadsheet would run text that starts like this as a formula.
    return f"'{value}" if str(value).startswith(("=", "+", "-", "@", "\t")) else value


def _csv_text(rows: Iterable[Iterable[object]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer).writerows(rows)
    return buffer.getvalue()
