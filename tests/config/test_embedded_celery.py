from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery.signals import task_success
from pytest_django import Settings

from apikeys.models import UsageRecord, UsageRollup
from config import embedded_celery
from config.celery import app
from tests.apikeys.conftest import record_fields

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.embedded]
THREADS = {"celery-worker", "celery-beat"}


def running() -> set[str]:
    return THREADS & {thread.name for thread in threading.enumerate()}


def wait_until(condition: Callable[[], bool], within: float = 15.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def succeeded(settings: Settings) -> Iterator[list[str]]:
    """The site's own schedule with seconds for minutes; the names of the tasks that have succeeded."""
    names: list[str] = []

    def note(sender: Any, **_: Any) -> None:
        names.append(sender.name)

    before = app.conf.beat_schedule
    app.conf.beat_schedule = {
        name: {**entry, "schedule": 1.0} for name, entry in settings.CELERY_BEAT_SCHEDULE.items()
    }
    task_success.connect(note)
    yield names
    embedded_celery.stop()
    task_success.disconnect(note)
    app.conf.beat_schedule = before


def test_every_task_of_the_schedule_runs_in_this_process(succeeded: list[str]) -> None:
    embedded_celery.start()
    wanted = {entry["task"] for entry in app.conf.beat_schedule.values()}
    assert len(wanted) == len(app.conf.beat_schedule)
    wait_until(lambda: wanted <= set(succeeded))


def test_usage_is_rolled_up_without_a_broker(succeeded: list[str]) -> None:
    UsageRecord.objects.create(**record_fields(prompt_tokens=3))
    embedded_celery.start()
    wait_until(lambda: UsageRollup.objects.filter(requests=1, prompt_tokens=3).exists())


def test_it_stops_within_seconds_and_starts_again(succeeded: list[str]) -> None:
    for _ in range(2):
        succeeded.clear()
        embedded_celery.start()
        assert running() == THREADS
        wait_until(lambda: bool(succeeded))
        started = time.monotonic()
        embedded_celery.stop()
        assert running() == set()
        assert time.monotonic() - started < embedded_celery.STOP_WITHIN


def test_signals_output_and_the_working_directory_are_left_alone(
    succeeded: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGQUIT)
    before = [signal.getsignal(number) for number in numbers]
    embedded_celery.start()
    wait_until(lambda: len(succeeded) >= 3)
    embedded_celery.stop()
    assert [signal.getsignal(number) for number in numbers] == before
    assert os.listdir(tmp_path) == []
    assert capfd.readouterr().out == ""


def test_with_a_broker_nothing_runs_here(settings: Settings) -> None:
    settings.CELERY_BROKER_URL = "redis://localhost:1/0"
    embedded_celery.start()
    assert running() == set()
