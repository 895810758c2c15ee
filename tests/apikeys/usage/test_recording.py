from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection

from apikeys.models import ApiKey, UsageRecord
from apikeys.usage.event import UsageEvent
from apikeys.usage.journal import Journal
from apikeys.usage.recording import UsageWriter
from tests.apikeys.conftest import NOON, make_event

Minted = tuple[ApiKey, str]
Record = Callable[..., list[UsageEvent]]


def wait_until(condition: Callable[[], bool], within: float = 10.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_record_is_the_event_field_by_field(recorded: Record) -> None:
    [event] = recorded(make_event(key_id=5, status=499, finish_reason="", error_code="client_left"))
    record = UsageRecord.objects.get(request_id=event.request_id)
    fields = dataclasses.asdict(event)
    del fields["address"], fields["content"]  # kept elsewhere
    assert {field: getattr(record, field) for field in fields} == fields


def test_one_request_is_one_record_however_often_it_is_recorded(recorded: Record) -> None:
    event = make_event()
    recorded(event, event)
    recorded(event)
    assert UsageRecord.objects.filter(request_id=event.request_id).count() == 1


def test_a_key_knows_when_and_where_it_was_last_used(recorded: Record, minted: Minted) -> None:
    key, _ = minted
    late = NOON + timedelta(minutes=5)
    there = {late: "203.0.113.7", NOON: "198.51.100.1"}
    recorded(*(make_event(key_id=key.pk, started_at=at, address=there[at]) for at in (NOON, late, NOON)))
    recorded(make_event(key_id=key.pk, started_at=NOON))
    key.refresh_from_db()
    assert (key.last_used_at, key.last_used_ip) == (late, "203.0.113.7")


def test_use_by_somebody_deleted_is_still_written(recorded: Record) -> None:
    [event] = recorded(make_event(user_id=987_654, key_id=987_654))
    assert UsageRecord.objects.filter(request_id=event.request_id).exists()


def test_a_model_name_that_is_no_text_or_too_long_is_cut_to_fit(recorded: Record) -> None:
    [event] = recorded(make_event(model="a\x00\ud800" + "模" * 500))
    assert UsageRecord.objects.get(request_id=event.request_id).model == "a?" + "模" * 198


@pytest.mark.parametrize("wrong", [{"prompt_tokens": 2**70}, {"duration_ms": -1}, {"user_id": None}])
def test_one_record_that_the_database_refuses_does_not_keep_the_others(
    wrong: dict[str, object],
    writer: UsageWriter,
    tmp_path: Path,
    db: None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    good = [make_event() for _ in range(9)]
    bad = make_event(**wrong)
    for event in [*good[:4], bad, *good[4:]]:
        writer.record(event)
    writer.flush()
    assert UsageRecord.objects.filter(request_id__in=[event.request_id for event in good]).count() == 9
    assert (tmp_path / "refused.jsonl").read_bytes() == bad.to_line()
    assert bad.request_id in caplog.text


@pytest.mark.django_db(transaction=True)
def test_a_torn_line_is_put_aside(
    writer: UsageWriter, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    event, torn = make_event(), make_event().to_line()[:50]
    (tmp_path / "usage-of-a-dead-process.jsonl").write_bytes(event.to_line() + torn)
    writer.start()
    writer.stop()
    assert UsageRecord.objects.get().request_id == event.request_id
    assert (tmp_path / "refused.jsonl").read_bytes() == torn + b"\n"
    assert "cannot be read" in caplog.text


def test_a_record_that_no_disk_takes_goes_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    writer = UsageWriter(Journal(Path("/proc/nowhere")))
    event = make_event()
    writer.record(event)
    assert event.to_line().decode().strip() in caplog.text


@pytest.mark.django_db(transaction=True)
def test_the_thread_writes_within_a_moment(writer: UsageWriter) -> None:
    writer.start()
    event = make_event()
    writer.record(event)
    wait_until(UsageRecord.objects.filter(request_id=event.request_id).exists, within=5.0)


@pytest.mark.django_db(transaction=True)
def test_stopping_writes_what_is_left(writer: UsageWriter, tmp_path: Path) -> None:
    writer.start()
    events = [make_event() for _ in range(50)]
    for event in events:
        writer.record(event)
    writer.stop()
    assert UsageRecord.objects.count() == 50
    assert list(tmp_path.iterdir()) == []


@pytest.mark.django_db(transaction=True)
def test_many_threads_at_once_lose_nothing(writer: UsageWriter) -> None:
    writer.start()

    def work() -> None:
        for _ in range(200):
            writer.record(make_event())

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.flush()
    assert UsageRecord.objects.count() == 1600


@pytest.mark.django_db(transaction=True)
def test_usage_waits_while_the_database_is_away_and_follows_when_it_is_back(
    writer: UsageWriter, caplog: pytest.LogCaptureFixture
) -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE apikeys_usagerecord RENAME TO away")
    try:
        writer.start()
        for _ in range(20):
            writer.record(make_event())
        wait_until(lambda: "waits in the journal" in caplog.text)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE away RENAME TO apikeys_usagerecord")
    wait_until(lambda: UsageRecord.objects.count() == 20)
    wait_until(lambda: "in the database again" in caplog.text)
    assert caplog.text.count("waits in the journal") == 1


@pytest.mark.django_db(transaction=True)
def test_the_thread_syncs_the_journal_and_commits_to_the_disk(
    writer: UsageWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    synchronous: list[object] = []

    def look(events: object, journal: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA synchronous" if connection.vendor == "sqlite" else "SELECT 2")
            synchronous.extend(cursor.fetchone())

    monkeypatch.setattr("apikeys.usage.recording.store", look)
    synced = threading.Event()
    monkeypatch.setattr(Journal, "sync", lambda self: synced.set())
    writer.start()
    writer.record(make_event())
    wait_until(lambda: bool(synchronous))
    assert synced.is_set()
    assert synchronous[0] == 2  # SQLite's FULL; PostgreSQL is asked for nothing
