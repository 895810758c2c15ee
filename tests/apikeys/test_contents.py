from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone
from pytest_django import Settings

from apikeys.contents import LONGEST, Content, ContentLost, seal, unseal
from apikeys.models import RequestContent, UsageRecord
from apikeys.tasks import prune_usage
from apikeys.usage.event import UsageEvent
from apikeys.usage.recording import UsageWriter
from tests.apikeys.conftest import make_event

Record = Callable[..., list[UsageEvent]]
SECRET = "the secret of the house"
CONTENT = Content([{"role": "user", "content": SECRET}], ["你好", ""])


def test_what_is_sealed_comes_back_and_cannot_be_read() -> None:
    sealed = seal(CONTENT)
    assert SECRET not in sealed
    assert unseal(sealed) == CONTENT


def test_a_new_key_in_front_seals_and_the_old_one_still_opens(settings: Settings) -> None:
    settings.CONTENT_KEYS = ["old"]
    before = seal(CONTENT)
    settings.CONTENT_KEYS = ["new", "old"]
    after = seal(CONTENT)
    assert unseal(before) == CONTENT
    settings.CONTENT_KEYS = ["new"]
    assert unseal(after) == CONTENT
    with pytest.raises(ContentLost):
        unseal(before)


def test_what_is_long_is_cut() -> None:
    kept = unseal(seal(Content(["a" * LONGEST], ["never seen"])))
    assert kept.asked.startswith('["aaa')
    assert (len(kept.asked), kept.answered) == (LONGEST + 1, [])
    kept = unseal(seal(Content(["x"], ["y" * LONGEST, "z"])))
    assert kept.asked == ["x"]
    assert sum(map(len, kept.answered)) <= LONGEST + 2


def test_content_goes_to_a_table_of_its_own_once_and_sealed(
    writer: UsageWriter, tmp_path: Path, db: None
) -> None:
    event, other = make_event(content=seal(CONTENT)), make_event()
    for each in (event, event, other):
        writer.record(each)
    assert SECRET.encode() not in next(tmp_path.glob("usage-*.jsonl")).read_bytes()
    writer.flush()
    row = RequestContent.objects.get()
    assert (row.request_id, row.project_id, row.started_at) == (event.request_id, 1, event.started_at)
    assert unseal(row.sealed) == CONTENT
    assert UsageRecord.objects.count() == 2


def test_content_is_pruned_sooner_than_records(recorded: Record, settings: Settings) -> None:
    settings.CONTENT_RETENTION_DAYS = 3
    now = timezone.now()
    recorded(
        *(make_event(content=seal(CONTENT), started_at=now - timedelta(days=days)) for days in (0, 2, 4, 5))
    )
    prune_usage()
    assert RequestContent.objects.count() == 2
    assert UsageRecord.objects.count() == 4
