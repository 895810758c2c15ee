from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoAssertNumQueries

from apikeys import keys
from apikeys.models import ApiKey, Project, UsageRecord
from apikeys.tasks import roll_up_usage
from apikeys.usage.event import UsageEvent
from apikeys.usage.filters import UsageFilters, parse_filters
from apikeys.usage.listing import usage_csv, usage_latest, usage_records
from apikeys.usage.queries import (
    LISTED,
    Latency,
    usage_by_key,
    usage_by_model,
    usage_by_project,
    usage_series,
    usage_summary,
)
from apikeys.usage.sketches import ACCURACY
from apikeys.usage.totals import Totals
from console.models import User
from tests.apikeys.conftest import NOON, make_event, record_fields

Record = Callable[..., list[UsageEvent]]
Minted = tuple[ApiKey, str]


def filters(query: dict[str, str] | None = None, user_id: int | None = 1) -> UsageFilters:
    return parse_filters(query or {}, user_id, now=NOON)[0]


@pytest.fixture(params=["fresh", "rolled up", "half and half"])
def record(request: pytest.FixtureRequest, recorded: Record) -> Record:
    """Records events; every query must say the same whether they are rolled up yet or not."""

    def run(*events: UsageEvent) -> list[UsageEvent]:
        half = len(events) // 2
        recorded(*events[:half])
        if request.param == "half and half":
            roll_up_usage()
        recorded(*events[half:])
        if request.param == "rolled up":
            roll_up_usage()
        return list(events)

    return run


def test_no_usage_is_zero_not_an_error(db: None) -> None:
    summary = usage_summary(filters())
    assert summary.totals == Totals()
    assert summary.duration == summary.ttft == Latency(None, None)
    assert len(usage_series(filters())) == 7
    assert usage_by_key(filters()).rows == []
    assert usage_by_model(filters()).rows == []


def test_the_summary_adds_up_everything(record: Record) -> None:
    free = {"cost_nanos": 0, "compute_us": 0}
    record(
        make_event(prompt_tokens=5, completion_tokens=7, duration_ms=100, cost_nanos=17, compute_us=1000),
        make_event(prompt_tokens=11, completion_tokens=13, duration_ms=300, cost_nanos=31, compute_us=500),
        make_event(status=429, prompt_tokens=0, completion_tokens=0, duration_ms=2, ttft_ms=None, **free),
        make_event(status=500, prompt_tokens=3, completion_tokens=0, duration_ms=8, ttft_ms=None, **free),
    )
    totals = usage_summary(filters()).totals
    assert totals == Totals(
        requests=4,
        errors=2,
        prompt_tokens=19,
        completion_tokens=20,
        duration_ms=410,
        cost_nanos=48,
        compute_us=1500,
    )
    assert (totals.cost, totals.compute_seconds) == (Decimal("0.000000048"), 0.0015)
    assert totals.mean_duration_ms == 102


def test_a_client_that_left_is_no_error(record: Record) -> None:
    record(make_event(status=499), make_event())
    assert usage_summary(filters()).totals.errors == 0


def test_percentiles_are_near_values_that_some_successful_request_took(record: Record) -> None:
    record(*(make_event(duration_ms=number * 10, ttft_ms=number) for number in range(1, 101)))
    record(make_event(status=500, duration_ms=1_000_000), make_event(ttft_ms=None, duration_ms=5))
    summary = usage_summary(filters())
    assert summary.duration.p50 == pytest.approx(500, rel=ACCURACY)
    assert summary.duration.p95 == pytest.approx(950, rel=ACCURACY)
    assert summary.ttft == Latency(p50=50, p95=95)


def test_percentiles_outlive_the_records(record: Record) -> None:
    record(*(make_event(duration_ms=number) for number in range(1, 51)))
    roll_up_usage()
    UsageRecord.objects.all().delete()
    for user_id in (1, None):
        assert usage_summary(filters(user_id=user_id)).duration == Latency(p50=25, p95=48)


def test_one_person_never_sees_anothers(record: Record) -> None:
    record(make_event(user_id=1), make_event(user_id=2), make_event(user_id=2))
    assert usage_summary(filters(user_id=1)).totals.requests == 1
    assert usage_records(filters(user_id=1)).count() == 1
    assert usage_summary(filters(user_id=None)).totals.requests == 3


def test_filters_narrow_every_query(record: Record, minted: Minted) -> None:
    key, _ = minted
    record(
        make_event(key_id=key.pk, model="big"),
        make_event(key_id=key.pk, model="small"),
        make_event(source="playground", model="big"),
        make_event(source="playground", model="big", started_at=NOON - timedelta(days=30)),
    )
    for query, count in (
        ({}, 3),
        ({"key": str(key.pk)}, 2),
        ({"model": "big"}, 2),
        ({"source": "playground"}, 1),
        ({"key": str(key.pk), "model": "big"}, 1),
        ({"model": "none"}, 0),
    ):
        wanted = filters(query)
        assert usage_summary(wanted).totals.requests == count
        assert sum(point.totals.requests for point in usage_series(wanted)) == count
        assert sum(row.totals.requests for row in usage_by_key(wanted).rows) == count
        assert sum(row.totals.requests for row in usage_by_model(wanted).rows) == count
        assert usage_records(wanted).count() == count


def test_days_begin_and_end_at_midnight_utc(record: Record) -> None:
    midnight = datetime(2026, 5, 19, tzinfo=UTC)
    instant = timedelta(microseconds=1)
    record(
        *(
            make_event(started_at=at)
            for at in (midnight - instant, midnight, midnight + timedelta(days=1) - instant)
        )
    )
    counts = {point.start: point.totals.requests for point in usage_series(filters())}
    assert counts[midnight - timedelta(days=1)] == 1
    assert counts[midnight] == 2
    assert sum(counts.values()) == 3
    day = filters({"from": "2026-05-19", "to": "2026-05-19"})
    assert usage_summary(day).totals.requests == 2


def test_short_ranges_go_by_the_hour(record: Record) -> None:
    record(make_event(), make_event(), make_event(started_at=NOON - timedelta(minutes=1)))
    points = usage_series(filters({"range": "24h"}))
    assert len(points) == 24
    assert [(point.start.hour, point.totals.requests) for point in points[-2:]] == [(11, 1), (12, 2)]


def test_an_hour_goes_by_the_minute(record: Record) -> None:
    record(make_event(), make_event(), make_event(started_at=NOON - timedelta(minutes=59)))
    points = usage_series(filters({"range": "1h"}))
    assert len(points) == 60
    assert [point.totals.requests for point in points] == [1, *[0] * 58, 2]


@pytest.mark.parametrize("user_id", [1, None])
def test_every_period_counts_what_began_in_it(user_id: int | None, record: Record) -> None:
    first = datetime(2026, 3, 1, tzinfo=UTC)
    days = [first + timedelta(days=number, hours=number % 24) for number in range(60)]
    record(*(make_event(key_id=1 + number % 3, started_at=at) for number, at in enumerate(days)))
    for start, length in ((0, 60), (0, 1), (1, 7), (3, 30), (7, 14), (20, 40)):
        dates = (first + timedelta(days=start), first + timedelta(days=start + length - 1))
        period = {name: str(at.date()) for name, at in zip(("from", "to"), dates, strict=True)}
        asked = filters(period, user_id=user_id)
        expected = Counter(1 + number % 3 for number in range(start, start + length))
        assert {row.key_id: row.totals.requests for row in usage_by_key(asked).rows} == expected
        assert usage_summary(asked).totals.requests == length
        assert sum(point.totals.requests for point in usage_series(asked)) == length


def test_projects_are_told_apart(record: Record, user: User) -> None:
    project = Project.objects.get(personal_of=user)
    record(make_event(project_id=project.pk), make_event(project_id=project.pk), make_event(project_id=99))
    rows = usage_by_project(filters()).rows
    assert [(row.project, row.totals.requests) for row in rows] == [(project, 2), (None, 1)]
    wanted = filters({"project": str(project.pk)}, user_id=None)
    assert usage_summary(wanted).totals.requests == usage_records(wanted).count() == 2


def test_breakdowns_put_the_busiest_first(record: Record, user: User) -> None:
    busy, quiet = keys.mint(user, "busy")[0], keys.mint(user, "quiet")[0]
    record(
        make_event(key_id=quiet.pk, model="small"),
        *(make_event(key_id=busy.pk, model="big") for _ in range(3)),
        *(make_event(source="playground", model="big") for _ in range(2)),
        make_event(key_id=424_242, model="gone"),
    )
    by_key = usage_by_key(filters()).rows
    assert [(row.key_id, row.totals.requests) for row in by_key][:2] == [(busy.pk, 3), (None, 2)]
    assert {row.key_id: row.key for row in by_key} == {
        busy.pk: busy,
        quiet.pk: quiet,
        None: None,
        424_242: None,
    }
    busiest = usage_by_model(filters()).rows[0]
    assert (busiest.model, busiest.totals.requests) == ("big", 5)


def test_breakdowns_have_one_order_where_several_are_as_busy(record: Record) -> None:
    record(*[make_event(model=model) for model in ("d", "a", "c", "b")])
    assert [row.model for row in usage_by_model(filters()).rows] == ["a", "b", "c", "d"]


def test_what_is_not_listed_is_added_together(record: Record) -> None:
    record(
        *(make_event(key_id=key_id) for key_id in range(LISTED + 3) for _ in range(2 if key_id > 2 else 1))
    )
    ranking = usage_by_key(filters())
    assert [row.totals.requests for row in ranking.rows] == [2] * LISTED
    assert (ranking.others, ranking.rest.requests, ranking.rest.prompt_tokens) == (3, 3, 30)
    assert usage_by_model(filters()).others == 0


@pytest.mark.embedded
@pytest.mark.parametrize(
    ("user_id", "query", "index"),
    [
        (1, {}, "usage_fresh_of_user"),
        (None, {"project": "5"}, "usage_fresh_of_project"),
        (None, {"key": "5"}, "usage_fresh_of_key"),
        (None, {}, "usage_fresh "),
    ],
)
def test_counting_reads_only_rollups_and_what_they_lack(
    db: None, user_id: int | None, query: dict[str, str], index: str
) -> None:
    with CaptureQueriesContext(connection) as queries, connection.cursor() as cursor:
        usage_by_model(filters(query, user_id=user_id))
        cursor.execute("EXPLAIN QUERY PLAN " + queries[0]["sql"])
        plan = [row[3] + " " for row in cursor.fetchall()]
    [records] = [line for line in plan if "apikeys_usagerecord" in line]
    assert f"USING INDEX {index}" in records


@pytest.mark.embedded
@pytest.mark.parametrize(
    ("wanted", "index"), [({}, "usage_user_started"), ({"key": "5"}, "usage_key_started")]
)
def test_the_latest_requests_are_found_without_looking_at_others(
    db: None, wanted: dict[str, str], index: str
) -> None:
    asked = filters(wanted, user_id=None if wanted else 1)
    with CaptureQueriesContext(connection) as queries, connection.cursor() as cursor:
        list(usage_records(asked)[:10])
        cursor.execute("EXPLAIN QUERY PLAN " + queries[0]["sql"])
        plan = [row[3] for row in cursor.fetchall()]
    assert any(f"USING INDEX {index}" in line for line in plan)


@pytest.mark.embedded
def test_breakdowns_of_everybody_read_an_index_alone(db: None) -> None:
    with CaptureQueriesContext(connection) as queries, connection.cursor() as cursor:
        usage_by_key(filters({"range": "90d"}, user_id=None))
        cursor.execute("EXPLAIN QUERY PLAN " + queries[0]["sql"])
        plan = [row[3] for row in cursor.fetchall() if "apikeys_usagerollup" in row[3]]
    assert plan
    assert all("USING COVERING INDEX rollup_of_time" in line for line in plan)


def test_the_latest_are_the_first_of_all(record: Record) -> None:
    hours = [number * number % 60 for number in range(60)]
    record(
        *(
            make_event(model="rare" if hour % 13 == 0 else "big", started_at=NOON - timedelta(hours=hour))
            for hour in hours
        )
    )
    for query in ({}, {"model": "rare"}, {"model": "none"}, {"range": "24h"}, {"range": "1h"}):
        for user_id in (1, None):
            asked = filters(query, user_id)
            assert usage_latest(asked, 7) == list(usage_records(asked)[:7])


def test_a_model_that_nobody_asked_for_is_not_looked_for_in_all_records(
    record: Record, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    record(make_event(), make_event())
    with django_assert_num_queries(2):  # of records that are not rolled up, and of rollups
        assert usage_latest(filters({"model": "none"}), 10) == []


def test_records_come_newest_first_with_their_keys(
    record: Record, minted: Minted, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    key, _ = minted
    record(
        make_event(request_id="old", key_id=key.pk),
        make_event(request_id="new", started_at=NOON + timedelta(seconds=1)),
    )
    with django_assert_num_queries(1):
        rows = [(row.request_id, row.key) for row in usage_records(filters())]
    assert rows == [("new", None), ("old", key)]


@pytest.mark.django_db(transaction=True)
async def test_csv_has_every_record_and_no_formula() -> None:
    fields = record_fields(model='a "model", quoted')
    rows = [UsageRecord(**{**fields, "request_id": f"csv-{number}"}) for number in range(1500)]
    rows[7].model = "=HYPERLINK(1)"
    await UsageRecord.objects.abulk_create(rows)
    text = "".join([piece async for piece in usage_csv(filters())])
    read = {row["request_id"]: row for row in csv.DictReader(io.StringIO(text))}
    assert len(read) == 1500
    assert read["csv-7"]["model"] == "'=HYPERLINK(1)"
    assert read["csv-8"] == {
        "request_id": "csv-8",
        "started_at": "2026-05-20T12:00:00.000+00:00",
        "project_id": "1",
        "key": "",
        "source": "api",
        "endpoint": "/v1/chat/completions",
        "model": 'a "model", quoted',
        "prompt_tokens": "10",
        "completion_tokens": "20",
        "cost": "0.000001500",
        "status": "200",
        "finish_reason": "stop",
        "error_code": "",
        "ttft_ms": "30",
        "duration_ms": "400",
        "queue_ms": "1",
        "prefill_ms": "29",
        "decode_ms": "369",
        "compute_seconds": "0.35",
        "stream": "True",
    }
