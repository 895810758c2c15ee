from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.test import Client

from apikeys import limits
from apikeys.limits.shared.fallback import Alone


@pytest.mark.parametrize(
    ("language", "says"),
    [("en", "each of the 3 servers gives out its share"), ("zh-hans", "每台服务器（共 3 台）只按")],
)
def test_it_is_told_that_redis_is_away(
    as_person: Client, monkeypatch: pytest.MonkeyPatch, language: str, says: str
) -> None:
    calm = as_person.get("/console/models/").content.decode()
    assert "Redis" not in calm
    monkeypatch.setattr(limits, "alone", lambda: Alone(datetime(2026, 5, 20, 12, tzinfo=UTC), 3))
    page = as_person.get("/console/models/", headers={"accept-language": language}).content.decode()
    assert says in page
    assert "2026-05-20 12:00" in page
