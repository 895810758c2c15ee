"""People, keys and usage to test with."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import pytest

from apikeys import keys
from apikeys.models import ApiKey
from apikeys.usage import recording
from apikeys.usage.event import UsageEvent
from apikeys.usage.journal import Journal
from apikeys.usage.recording import UsageWriter
from console.models import User

NOON = datetime(2026, 5, 20, 12, 0, tzinfo=UTC)
_numbers = itertools.count(1)


def make_event(**fields: object) -> UsageEvent:
    """A finished, successful request, but for ``fields``."""
    defaults = {
        "request_id": f"req-{next(_numbers)}",
        "user_id": 1,
        "key_id": None,
        "project_id": 1,
        "source": "api",
        "endpoint": "/v1/chat/completions",
        "model": "smollm2",
        "prompt_tokens": 10,
        "completion_tokens": 20,
        "status": 200,
        "finish_reason": "stop",
        "error_code": "",
        "started_at": NOON,
        "ttft_ms": 30,
        "duration_ms": 400,
        "stream": True,
        "cost_nanos": 1500,
        "queue_ms": 1,
        "prefill_ms": 29,
        "decode_ms": 369,
        "compute_us": 350_000,
    }
    return UsageEvent(**{**defaults, **fields})  # type: ignore[arg-type]


def record_fields(**fields: object) -> dict[str, object]:
    """Those of the ``UsageRecord`` of ``make_event``."""
    values = asdict(make_event(**fields))
    del values["address"], values["content"]  # kept elsewhere
    return values


@pytest.fixture
def user(db: None) -> User:
    return User.objects.create_user("ada@example.com")


@pytest.fixture
def minted(user: User) -> tuple[ApiKey, str]:
    """A key of ``user``, and its text."""
    return keys.mint(user, "laptop")


@pytest.fixture
def recorded(db: None) -> Callable[..., list[UsageEvent]]:
    """Records events and waits until they are in the database."""

    def record(*events: UsageEvent) -> list[UsageEvent]:
        for event in events:
            recording.record(event)
        recording.flush()
        return list(events)

    return record


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[UsageWriter]:
    """A writer with a journal of its own, not started."""
    writer = UsageWriter(Journal(tmp_path))
    yield writer
    writer.stop()
