"""Who works on which batch."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from apikeys import keys
from apikeys.models import ApiKey
from config.celery import app
from console.models import User
from serving.batches import queue
from serving.batches.models import Batch
from serving.batches.queue import AT_ONCE, Lease, LeaseLost

DAY = timedelta(days=1)


@pytest.fixture
def sent(db: None, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What has been sent to Celery: batches and tokens."""
    messages: list[tuple[str, str]] = []
    monkeypatch.setattr(app, "send_task", lambda name, arguments, **_: messages.append(arguments))
    return messages


def key_of(email: str) -> ApiKey:
    return keys.mint(User.objects.create_user(email), "key")[0]


def make_batch(key: ApiKey, **fields: Any) -> Batch:
    fields = {"status": "in_progress", "expires_at": timezone.now() + DAY, **fields}
    return Batch.objects.create(
        project=key.project, key=key, endpoint="/v1/completions", input_file_id="file-1", **fields
    )


def run_out(batch: Batch) -> None:
    Batch.objects.filter(pk=batch.pk).update(leased_until=timezone.now() - timedelta(seconds=1))


def test_what_is_on_its_way_is_not_sent_again_until_its_lease_runs_out(sent: list[tuple[str, str]]) -> None:
    batch = make_batch(key_of("ada@example.com"))
    assert (queue.send_waiting(), queue.send_waiting()) == (1, 0)
    run_out(batch)
    assert queue.send_waiting() == 1
    assert [batch_id for batch_id, _ in sent] == [batch.id] * 2
    assert sent[0] != sent[1]


def test_a_worker_that_lost_its_lease_can_write_nothing(sent: list[tuple[str, str]]) -> None:
    batch = make_batch(key_of("ada@example.com"))
    queue.send_waiting()
    old = Lease(*sent[0])
    old.keep_line(1, "{}", failed=False)
    run_out(batch)
    queue.send_waiting()
    new = Lease(*sent[1])
    new.renew()
    for write in (
        old.renew,
        lambda: old.keep_line(2, "{}", failed=False),
        lambda: old.end(status="completed"),
        lambda: old.move("in_progress", status="finalizing"),
    ):
        with pytest.raises(LeaseLost):
            write()
    new.keep_line(2, "{}", failed=True)
    batch.refresh_from_db()
    assert (batch.status, batch.completed, batch.failed) == ("in_progress", 1, 1)
    assert [line.number for line in batch.lines.order_by("number")] == [1, 2]


def test_projects_take_turns_and_only_so_many_run_at_once(sent: list[tuple[str, str]]) -> None:
    busy, quiet = key_of("ada@example.com"), key_of("grace@example.com")
    theirs = [make_batch(busy).id for _ in range(AT_ONCE + 2)]
    last = make_batch(quiet).id
    assert queue.send_waiting() == AT_ONCE
    assert [batch_id for batch_id, _ in sent] == [theirs[0], last, *theirs[1 : AT_ONCE - 1]]
    assert queue.send_waiting() == 0
    Lease(*sent[1]).end(status="completed")
    assert queue.send_waiting() == 1
    assert sent[-1][0] == theirs[AT_ONCE - 1]


def test_what_only_has_to_end_does_not_wait_for_its_turn(sent: list[tuple[str, str]]) -> None:
    key = key_of("ada@example.com")
    for _ in range(AT_ONCE):
        make_batch(key)
    queue.send_waiting()
    over = {make_batch(key, status="cancelling").id, make_batch(key, expires_at=timezone.now()).id}
    make_batch(key)
    assert queue.send_waiting() == 2
    assert {batch_id for batch_id, _ in sent[-2:]} == over


def test_a_cancellation_is_not_overwritten(sent: list[tuple[str, str]]) -> None:
    batch = make_batch(key_of("ada@example.com"), status="validating")
    queue.send_waiting()
    lease = Lease(*sent[0])
    Batch.objects.filter(pk=batch.pk).update(status="cancelling")
    assert lease.move("validating", status="in_progress", total=3).status == "cancelling"
