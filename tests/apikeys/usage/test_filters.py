from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from django.http import QueryDict

from apikeys.usage.filters import parse_filters

NOW = datetime(2026, 5, 20, 12, 34, 56, tzinfo=UTC)


def test_no_filters_mean_the_last_seven_days_today_included() -> None:
    filters, messages = parse_filters({}, user_id=3, now=NOW)
    assert (filters.start, filters.end) == (
        datetime(2026, 5, 14, tzinfo=UTC),
        datetime(2026, 5, 21, tzinfo=UTC),
    )
    assert (filters.user_id, filters.range, filters.step) == (3, "7d", "day")
    assert (filters.key_id, filters.model, filters.source, messages) == (None, "", "", [])


def test_24_hours_are_whole_hours_up_to_this_one() -> None:
    filters, _ = parse_filters({"range": "24h"}, user_id=None, now=NOW)
    assert filters.end == datetime(2026, 5, 20, 13, tzinfo=UTC)
    assert filters.end - filters.start == timedelta(hours=24)
    assert filters.step == "hour"


def test_one_hour_is_whole_minutes_up_to_this_one() -> None:
    filters, _ = parse_filters({"range": "1h"}, user_id=None, now=NOW)
    assert filters.end == datetime(2026, 5, 20, 12, 35, tzinfo=UTC)
    assert filters.end - filters.start == timedelta(hours=1)
    assert (filters.step, filters.last_day) == ("minute", date(2026, 5, 20))


@pytest.mark.parametrize(("first", "step"), [("2026-05-19", "hour"), ("2026-01-19", "day")])
def test_a_short_period_goes_by_the_hour_while_hours_are_kept(first: str, step: str) -> None:
    query = {"from": first, "to": first}
    assert parse_filters(query, user_id=None, now=NOW)[0].step == step


def test_dates_are_inclusive_and_win_over_the_range() -> None:
    query = QueryDict("from=2026-01-01&to=2026-01-31&range=24h")
    filters, messages = parse_filters(query, user_id=None, now=NOW)
    assert (filters.first_day, filters.last_day) == (date(2026, 1, 1), date(2026, 1, 31))
    assert (filters.start, filters.end) == (
        datetime(2026, 1, 1, tzinfo=UTC),
        datetime(2026, 2, 1, tzinfo=UTC),
    )
    assert (filters.range, messages) == ("custom", [])


@pytest.mark.parametrize(
    ("query", "first", "last"),
    [
        ("from=2026-05-18", date(2026, 5, 18), date(2026, 5, 20)),
        ("to=2026-05-18", date(2026, 5, 18), date(2026, 5, 18)),
    ],
)
def test_one_date_alone_is_enough(query: str, first: date, last: date) -> None:
    filters, _ = parse_filters(QueryDict(query), user_id=None, now=NOW)
    assert (filters.first_day, filters.last_day) == (first, last)


def test_key_model_and_source_are_taken_as_they_are() -> None:
    filters, messages = parse_filters(
        QueryDict("key=12&project=3&model=a/b&source=playground"), user_id=None, now=NOW
    )
    assert filters.project_id == 3
    assert (filters.key_id, filters.model, filters.source, messages) == (12, "a/b", "playground", [])


@pytest.mark.parametrize(
    "query",
    [
        "range=1y",
        "from=yesterday",
        "to=2026-02-30",
        "from=2026-05-20&to=2026-05-01",
        "from=0001-01-01&to=9999-12-31",
        "to=9999-12-31&from=9999-12-31",
        "key=mine",
        "project=ours",
        "key=٣",
        "key=-1",
        "key=99999999999999999999999999",
        "source=mail",
    ],
)
def test_nonsense_is_named_and_left_out(query: str) -> None:
    filters, messages = parse_filters(QueryDict(query), user_id=None, now=NOW)
    assert len(messages) == 1
    assert filters == parse_filters({}, user_id=None, now=NOW)[0]
