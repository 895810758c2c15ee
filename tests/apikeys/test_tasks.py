from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import timedelta
from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.db import connection
from django.utils import timezone
from pytest_django import Settings

from apikeys import keys
from apikeys.models import WIDTHS, ApiKey, UsageRecord, UsageRollup
from apikeys.tasks import BATCH, expire_keys, prune_usage, roll_up_usage
from apikeys.usage import rollups as rollups_module
from apikeys.usage.event import UsageEvent
from apikeys.usage.filters import parse_filters
from apikeys.usage.queries import usage_by_model, usage_series, usage_summary
from apikeys.usage.sketches import Sketch
from console.models import User
from tests.apikeys.conftest import NOON, make_event, record_fields

Record = Callable[..., list[UsageEvent]]


HOURS = UsageRollup.objects.filter(width="hour", user__isnull=False)


def rollups() -> list[Any]:
    return list(UsageRollup.objects.order_by("pk").values())


def test_a_rollup_holds_one_hour_of_one_key_and_model(recorded: Record) -> None:
    recorded(
        make_event(
            key_id=1, prompt_tokens=1, completion_tokens=2, duration_ms=3, cost_nanos=40, compute_us=500
        ),
        make_event(
            key_id=1,
            prompt_tokens=10,
            completion_tokens=20,
            duration_ms=30,
            cost_nanos=400,
            compute_us=5000,
            status=500,
        ),
        make_event(key_id=1, started_at=NOON + timedelta(hours=1)),
        make_event(key_id=1, model="other"),
        make_event(key_id=None),
        make_event(key_id=None, source="playground"),
    )
    assert roll_up_usage() == 6
    assert HOURS.count() == 5
    rollup = HOURS.get(start=NOON, key_id=1, model="smollm2")
    assert (rollup.requests, rollup.errors) == (2, 1)
    assert (rollup.prompt_tokens, rollup.completion_tokens, rollup.duration_ms) == (11, 22, 33)
    assert (rollup.cost_nanos, rollup.compute_us) == (440, 5500)
    assert len(Sketch(bytes(rollup.durations))) == 1  # the failed one is not in it


@pytest.mark.parametrize(("width", "starts"), [("minute", 3), ("hour", 2), ("day", 1), ("week", 1)])
def test_every_width_counts_every_record_once_for_each_and_for_all(
    width: str, starts: int, recorded: Record
) -> None:
    moments = [NOON, NOON + timedelta(minutes=1), NOON + timedelta(hours=2)]
    recorded(*(make_event(user_id=user_id, started_at=at) for user_id in (1, 2) for at in moments))
    roll_up_usage()
    for rows, count in (
        (UsageRollup.objects.filter(width=width, user__isnull=False), 2 * starts),
        (UsageRollup.objects.filter(width=width, user=None, project=None, key=None), starts),
    ):
        assert rows.count() == count
        assert sum(row.requests for row in rows) == 6
        assert sum(len(Sketch(bytes(row.durations))) for row in rows) == 6


def test_rolling_up_twice_changes_nothing(recorded: Record) -> None:
    recorded(*(make_event(key_id=key_id) for key_id in (1, None)))
    roll_up_usage()
    before = rollups()
    assert roll_up_usage() == 0
    assert rollups() == before


def test_late_records_are_added_to_the_rollup_of_their_hour(recorded: Record) -> None:
    for key_id in (1, None):
        recorded(make_event(key_id=key_id))
        roll_up_usage()
        recorded(make_event(key_id=key_id))
        roll_up_usage()
        assert HOURS.get(start=NOON, key_id=key_id).requests == 2


def test_records_in_any_order_and_batches_make_the_same_rollups(recorded: Record) -> None:
    events = [
        make_event(
            key_id=number % 3, duration_ms=number * number, started_at=NOON + timedelta(minutes=number % 7)
        )
        for number in range(100)
    ]
    recorded(*events)
    roll_up_usage()
    at_once = rollups()
    UsageRollup.objects.all().delete()
    UsageRecord.objects.all().delete()
    for at in range(0, 100, 9):
        recorded(*reversed(events[at : at + 9]))
        roll_up_usage()
    assert rollups() == at_once


def test_weeks_of_an_older_site_are_made_from_its_days(recorded: Record) -> None:
    recorded(
        *(
            make_event(key_id=days % 2, duration_ms=30 * days, started_at=NOON + timedelta(days=days))
            for days in range(20)
        )
    )
    roll_up_usage()
    before = rollups()
    UsageRollup.objects.filter(width="week").delete()
    import_module("apikeys.migrations.0017_weeks").add_weeks(apps, None)
    assert rollups() == before


def test_more_than_one_batch_is_rolled_up(db: None) -> None:
    fields = record_fields()
    rows = [UsageRecord(**{**fields, "request_id": f"many-{number}"}) for number in range(2 * BATCH + 1)]
    UsageRecord.objects.bulk_create(rows)
    assert roll_up_usage() == 2 * BATCH + 1
    assert HOURS.get().requests == 2 * BATCH + 1


@pytest.mark.django_db(transaction=True)
def test_two_rollups_at_once_count_every_record_once() -> None:
    fields = record_fields()
    rows = [UsageRecord(**{**fields, "request_id": f"both-{number}"}) for number in range(3 * BATCH)]
    UsageRecord.objects.bulk_create(rows)

    def work() -> None:
        roll_up_usage()
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for rollup in UsageRollup.objects.all():
        assert rollup.requests == len(Sketch(bytes(rollup.durations))) == 3 * BATCH
    assert UsageRollup.objects.count() == 8


@pytest.mark.django_db(transaction=True)
def test_what_others_add_meanwhile_is_not_overwritten(
    recorded: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    change = rollups_module._change
    others = iter([threading.Thread(target=roll_up_late_record)])

    def change_after_others(*arguments: Any) -> Any:
        for thread in others:  # once: between reading and writing
            recorded(make_event(started_at=NOON + timedelta(seconds=1)))
            thread.start()
            thread.join()
        return change(*arguments)

    recorded(make_event())
    roll_up_usage()
    monkeypatch.setattr(rollups_module, "_change", change_after_others)
    recorded(make_event(started_at=NOON + timedelta(seconds=2)))
    roll_up_usage()
    assert {rollup.requests for rollup in UsageRollup.objects.all()} == {3}


def roll_up_late_record() -> None:
    rollups_module.roll_up(1)
    connection.close()


def test_pruned_days_stay_on_the_dashboard(recorded: Record, settings: Settings) -> None:
    settings.USAGE_RETENTION_DAYS = 30
    now = timezone.now()
    recorded(
        *(make_event(started_at=now - timedelta(days=40)) for _ in range(3)),
        make_event(started_at=now - timedelta(days=29)),
    )
    roll_up_usage()
    filters, _ = parse_filters({"range": "90d"}, user_id=1)
    before = usage_summary(filters).totals, usage_series(filters), usage_by_model(filters)
    assert prune_usage() == 3
    assert UsageRecord.objects.count() == 1
    assert (usage_summary(filters).totals, usage_series(filters), usage_by_model(filters)) == before
    assert before[0].requests == 4


def test_what_no_rollup_counts_yet_is_not_pruned(recorded: Record) -> None:
    recorded(make_event(started_at=timezone.now() - timedelta(days=4000)))
    assert prune_usage() == 0
    roll_up_usage()
    assert prune_usage() == 1


def test_rollups_by_minute_and_hour_are_pruned_and_days_stay(recorded: Record, settings: Settings) -> None:
    settings.USAGE_RETENTION_DAYS = 30
    now = timezone.now()
    recorded(*(make_event(started_at=now - timedelta(days=days)) for days in (0, 3, 31)))
    roll_up_usage()
    prune_usage()
    of_all = UsageRollup.objects.filter(user=None)
    kept = {width: sum(row.requests for row in of_all.filter(width=width)) for width in WIDTHS}
    assert kept == {"minute": 1, "hour": 2, "day": 3, "week": 3}


def test_each_expired_key_is_logged_once(user: User, caplog: pytest.LogCaptureFixture) -> None:
    past = timezone.now() - timedelta(minutes=1)
    expired, _ = keys.mint(user, "expired", past)
    keys.mint(user, "lasting", timezone.now() + timedelta(hours=1))
    keys.mint(user, "for ever")
    revoked, _ = keys.mint(user, "revoked", past)
    keys.revoke(revoked)
    caplog.set_level(logging.INFO, "apikeys.tasks")
    caplog.clear()
    assert expire_keys() == 1
    assert expire_keys() == 0
    assert [record.getMessage() for record in caplog.records] == [
        f"Key {expired.prefix} of user {user.pk} has expired"
    ]
    assert ApiKey.objects.get(pk=expired.pk).status == "expired"
