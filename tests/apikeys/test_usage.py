from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection

from apikeys.journal import Journal
from apikeys.models import ApiKey, UsageRecord
from apikeys.usage import UsageEvent, UsageWriter
from tests.apikeys.conftest import NOON, make_event
from tests.database import read
from tests.environment import REPOSITORY
from tests.services import share

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
    assert {field: getattr(record, field) for field in fields} == fields


def test_one_request_is_one_record_however_often_it_is_recorded(recorded: Record) -> None:
    event = make_event()
    recorded(event, event)
    recorded(event)
    assert UsageRecord.objects.filter(request_id=event.request_id).count() == 1


def test_a_key_knows_when_it_was_last_used(recorded: Record, minted: Minted) -> None:
    key, _ = minted
    late = NOON + timedelta(minutes=5)
    recorded(*(make_event(key_id=key.pk, started_at=at) for at in (NOON, late, NOON)))
    recorded(make_event(key_id=key.pk, started_at=NOON))
    key.refresh_from_db()
    assert key.last_used_at == late


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


# -- Death of the process ---------------------------------------------------------------------

SETUP = """
import os, signal, sys, django
django.setup()
from apikeys import usage
from apikeys.journal import Journal
from tests.apikeys.conftest import make_event
"""

RECORD_FOR_EVER = """
import itertools
usage.start()
for number in itertools.count():
    usage.record(make_event(request_id=f"{os.getpid()}-{number}"))
    print(f"{os.getpid()}-{number}", flush=True)
"""

# In the database, but still in the journal.
DIE_BEFORE_DELETING = """
Journal.delete = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
for number in range(100):
    usage.record(make_event(request_id=f"kept-{number}"))
usage.flush()
"""

RECOVER = """
usage.start()
usage.stop()
"""


class Site:
    """A DATA_DIR of its own, in which processes live and die."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.environment = {
            **os.environ,
            **share(data_dir),
            "DATA_DIR": str(data_dir),
            "DJANGO_SETTINGS_MODULE": "config.settings",
        }
        self.run([sys.executable, "manage.py", "migrate", "--skip-checks", "-v", "0"])

    def run(self, command: list[str]) -> int:
        return subprocess.run(
            command, cwd=REPOSITORY, env=self.environment, check=False, timeout=60
        ).returncode

    def python(self, code: str) -> int:
        return self.run([sys.executable, "-c", SETUP + code])

    def popen(self, code: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", SETUP + code]
        return subprocess.Popen(
            command, cwd=REPOSITORY, env=self.environment, stdout=subprocess.PIPE, text=True
        )

    def request_ids(self) -> list[str]:
        rows = read(self.environment, "SELECT request_id FROM apikeys_usagerecord")
        return [row["request_id"] for row in rows]

    def journal(self) -> list[Path]:
        return list((self.data_dir / "journal").glob("*.jsonl"))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_a_death_between_the_database_and_the_journal_counts_nothing_twice(site: Site) -> None:
    assert site.python(DIE_BEFORE_DELETING) == -signal.SIGKILL
    assert len(site.request_ids()) == 100
    assert len(site.journal()) == 1
    assert site.python(RECOVER) == 0
    assert sorted(site.request_ids()) == sorted(f"kept-{number}" for number in range(100))
    assert site.journal() == []


def test_two_processes_killed_at_any_moment_lose_and_double_nothing(site: Site) -> None:
    processes = [site.popen(RECORD_FOR_EVER) for _ in range(2)]
    answered: list[str] = []
    for process, moment in zip(processes, (137, 1361), strict=True):
        assert process.stdout is not None
        answered += [process.stdout.readline().strip() for _ in range(moment)]
    for process in processes:
        process.kill()
        assert process.stdout is not None
        answered += [line.strip() for line in process.stdout if line.endswith("\n")]
        process.wait()
        process.stdout.close()
    assert site.python(RECOVER) == 0
    kept = site.request_ids()
    assert len(kept) == len(set(kept))
    assert set(answered) <= set(kept)
    # Each process may have died between the record and its answer.
    assert len(kept) <= len(answered) + len(processes)
    assert site.journal() == []
