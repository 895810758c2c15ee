"""What dashboards show of usage.

Counts are rollups plus the records that no rollup counts yet: exact at any moment, quick at any size, and
still there after the records were pruned. So are percentiles, from the sketches of the rollups, but for what
a sketch leaves open. The list of requests (``listing.py``) comes from the records alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from operator import add
from typing import Any, Generic, TypeVar

from django.db.models import IntegerField, Value
from django.db.models.expressions import Combinable

from apikeys.models import WIDTHS, ApiKey, Project
from apikeys.usage.filters import UsageFilters
from apikeys.usage.selection import fresh_of, is_about_everybody, rollups_of
from apikeys.usage.sketches import Sketch
from apikeys.usage.spans import Span, spans_of
from apikeys.usage.totals import SUMS_OF_RECORDS, SUMS_OF_ROLLUPS, Began, Totals, Unordered, group

LISTED = 50  # rows of a ranking: more than a person reads, and few to look up

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds, over successful requests, as ``sketches`` tells them. None: there were none."""

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
class Ranking(Generic[Row]):
    """The busiest first, LISTED of them at most; ``others`` that are not listed have ``rest`` together."""

    rows: list[Row]
    others: int
    rest: Totals


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


@dataclass(frozen=True, slots=True)
class ProjectUsage:
    """``project`` is None when its row is gone."""

    project: Project | None
    totals: Totals


def usage_totals(filters: UsageFilters) -> Totals:
    return sum(_totals_by(filters, "source").values(), Totals())


def usage_summary(filters: UsageFilters) -> Summary:
    duration, ttft = _latencies(filters)
    return Summary(usage_totals(filters), duration, ttft)


def usage_series(filters: UsageFilters) -> list[Point]:
    """One point for every minute, hour or day (``filters.step``) of the period, those without usage too."""
    width = WIDTHS[filters.step]
    totals = _totals_by(filters, "start")
    count = (filters.end - filters.start) // width
    starts = [filters.start + number * width for number in range(count)]
    return [Point(start, totals.get(start, Totals())) for start in starts]


def usage_by_key(filters: UsageFilters) -> Ranking[KeyUsage]:
    ranking = _ranking(filters, "key_id")
    keys = ApiKey.objects.in_bulk([key_id for key_id, _ in ranking.rows if key_id is not None])
    return _with_rows(ranking, lambda key_id, totals: KeyUsage(key_id, keys.get(key_id), totals))


def usage_by_model(filters: UsageFilters) -> Ranking[ModelUsage]:
    return _with_rows(_ranking(filters, "model"), ModelUsage)


def usage_by_project(filters: UsageFilters) -> Ranking[ProjectUsage]:
    ranking = _ranking(filters, "project_id")
    projects = Project.objects.select_related("personal_of").in_bulk([pk for pk, _ in ranking.rows])
    return _with_rows(ranking, lambda pk, totals: ProjectUsage(projects.get(pk), totals))


def usage_by(filters: UsageFilters, *names: str) -> dict[tuple[Any, ...], Totals]:
    """Totals for each combination of values of ``names``: fields that records and rollups share, or
    ``start``."""
    together = is_about_everybody(filters) and not {"key_id", "project_id"} & set(names)
    spans = [_in_steps(filters)] if "start" in names else _widest(filters)
    of_rollup: dict[str, Combinable] = {f"group_{name}": Unordered(name) for name in names}
    of_record = dict(of_rollup)
    if "start" in names:
        of_record["group_start"] = Began(filters.step)
    rolled_up = [group(rollups_of(filters, span, together), SUMS_OF_ROLLUPS, **of_rollup) for span in spans]
    not_rolled_up = group(fresh_of(filters), SUMS_OF_RECORDS, **of_record)
    sums: dict[tuple[Any, ...], Iterable[Any]] = {}
    # One statement sees one moment: between two, a rollup could move records from one side to the other.
    for row in not_rolled_up.union(*rolled_up, all=True):
        whose, more = row[: len(names)], row[len(names) :]
        sums[whose] = tuple(map(add, sums[whose], more)) if whose in sums else more
    return {whose: Totals(*map(int, added)) for whose, added in sums.items()}


def _in_steps(filters: UsageFilters) -> Span:
    return Span(filters.step, filters.start, filters.end)


def _widest(filters: UsageFilters) -> list[Span]:
    return list(spans_of(filters.start, filters.end, filters.step))


def _totals_by(filters: UsageFilters, name: str) -> dict[Any, Totals]:
    """Totals for each value of ``name``: a field that records and rollups share, or ``start``."""
    return {whose[0]: totals for whose, totals in usage_by(filters, name).items()}


def _ranking(filters: UsageFilters, name: str) -> Ranking[tuple[Any, Totals]]:
    """The most requests first; among equals the order is the same each time."""
    rows = sorted(_totals_by(filters, name).items(), key=lambda row: (-row[1].requests, str(row[0])))
    rest = [totals for _, totals in rows[LISTED:]]
    return Ranking(rows[:LISTED], len(rest), sum(rest, Totals()))


def _with_rows(ranking: Ranking[tuple[Any, Totals]], row: Callable[[Any, Totals], Row]) -> Ranking[Row]:
    return Ranking([row(whose, totals) for whose, totals in ranking.rows], ranking.others, ranking.rest)


def _latencies(filters: UsageFilters) -> tuple[Latency, Latency]:
    """Of whole requests, and of their first tokens."""
    duration, ttft = Sketch(), Sketch()
    together = is_about_everybody(filters)
    nothing = Value(None, output_field=IntegerField())
    rolled_up = [
        rollups_of(filters, span, together).values_list("durations", "ttfts", nothing, nothing)
        for span in _widest(filters)
    ]
    fresh = fresh_of(filters).filter(status__lt=400)
    not_rolled_up = fresh.values_list(nothing, nothing, "duration_ms", "ttft_ms")
    packed: list[tuple[bytes, bytes]] = []
    # In this order: PostgreSQL takes a column's type from the first two.
    for durations, ttfts, duration_ms, ttft_ms in rolled_up[0].union(not_rolled_up, *rolled_up[1:], all=True):
        if durations is not None:
            packed.append((durations, ttfts))
            continue
        duration.add(duration_ms)
        if ttft_ms is not None:
            ttft.add(ttft_ms)
    duration.merge_packed(b"".join(durations for durations, _ in packed))
    ttft.merge_packed(b"".join(ttfts for _, ttfts in packed))
    return _latency(duration), _latency(ttft)


def _latency(sketch: Sketch) -> Latency:
    return Latency(sketch.percentile(50), sketch.percentile(95))
