"""Periods in rollups: every moment in exactly one of them, and in few."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from apikeys.models import WIDTHS, Width
from apikeys.usage.spans import Span, begin_of, spans_of

WEDNESDAY = datetime(2026, 5, 20, tzinfo=UTC)
DAY = timedelta(days=1)


def at(day: int, hour: int = 0, minute: int = 0) -> datetime:
    return WEDNESDAY + timedelta(days=day, hours=hour, minutes=minute)


@pytest.mark.parametrize(
    ("width", "begin"), [("minute", at(0, 13, 59)), ("hour", at(0, 13)), ("day", at(0)), ("week", at(-2))]
)
def test_widths_begin_where_people_expect(width: Width, begin: datetime) -> None:
    assert begin_of(at(0, 13, 59) + timedelta(seconds=7), width) == begin
    assert begin_of(begin, width) == begin


def test_an_empty_period_has_no_rollups() -> None:
    assert list(spans_of(at(0), at(0), "day")) == []


def test_weeks_fill_the_middle_and_days_the_ends() -> None:
    assert list(spans_of(at(0), at(20), "day")) == [
        Span("day", at(0), at(5)),
        Span("week", at(5), at(19)),
        Span("day", at(19), at(20)),
    ]


def test_hours_and_minutes_are_read_only_where_nothing_wider_fits() -> None:
    assert list(spans_of(at(0, 22, 58), at(2, 1, 2), "minute")) == [
        Span("minute", at(0, 22, 58), at(0, 23)),
        Span("hour", at(0, 23), at(1)),
        Span("day", at(1), at(2)),
        Span("hour", at(2), at(2, 1)),
        Span("minute", at(2, 1), at(2, 1, 2)),
    ]


@pytest.mark.parametrize("finest", WIDTHS)
def test_every_moment_is_in_exactly_one_rollup(finest: Width) -> None:
    start = begin_of(at(0, 7, 3), finest)
    for steps in (1, 2, 3, 23, 24, 25, 59, 61, 100, 1441, 20_000):
        end = start + steps * WIDTHS[finest]
        spans = list(spans_of(start, end, finest))
        assert [span.start for span in spans] == [start, *(span.end for span in spans[:-1])]
        assert spans[-1].end == end
        assert all(
            begin_of(moment, span.width) == moment for span in spans for moment in (span.start, span.end)
        )


def test_ninety_days_are_at_most_two_dozen_rollups() -> None:
    for number in range(7):
        spans = spans_of(at(number), at(number + 90), "day")
        assert sum((span.end - span.start) // WIDTHS[span.width] for span in spans) <= 24
