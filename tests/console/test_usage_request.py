"""The page of one request: who may open it, and who may read what was said."""

from __future__ import annotations

import pytest
from django.test import Client
from pytest_django import Settings

from apikeys.contents import Content, seal
from apikeys.models import Membership, Project, RequestContent, UsageRecord
from console.models import User
from tests.console.test_usage import record

URL = "/console/usage/requests/req-1/"


@pytest.fixture
def robots(administrator: User) -> Project:
    """A project with one request of ``administrator``, whose content is kept."""
    project = Project.objects.create(name="Robots", keeps_content=True)
    record(administrator, "req-1", project=project, queue_ms=3, prefill_ms=40, decode_ms=500)
    call = {"id": "call_1", "name": "open_door", "arguments": '{"which": "red"}'}
    asked = [
        {"role": "user", "content": "Open the <door>"},
        {"role": "assistant", "content": "", "calls": [call]},
    ]
    said = Content(asked, ["I cannot"])
    when = UsageRecord.objects.get().started_at
    RequestContent.objects.create(request_id="req-1", project=project, started_at=when, sealed=seal(said))
    return project


def test_who_made_it_sees_numbers_and_words(robots: Project, as_administrator: Client) -> None:
    page = as_administrator.get(URL).content.decode()
    for text in ("Robots", "40 ms", "500 ms", "Open the &lt;door&gt;", "open_door({", "I cannot"):
        assert text in page


@pytest.mark.parametrize(
    ("role", "status", "reads"),
    [(None, 404, False), ("viewer", 200, False), ("member", 200, False), ("admin", 200, True)],
)
def test_others_by_their_role_in_the_project(
    role: str | None, status: int, reads: bool, robots: Project, as_person: Client, person: User
) -> None:
    if role:
        Membership.objects.create(project=robots, user=person, role=role)
    answer = as_person.get(URL)
    assert answer.status_code == status
    assert ("I cannot" in answer.content.decode()) is reads


def test_a_lost_key_is_said(robots: Project, as_administrator: Client, settings: Settings) -> None:
    settings.CONTENT_KEYS = ["another"]
    page = as_administrator.get(URL).content.decode()
    assert "a key that this site no longer has" in page


def test_nothing_kept_is_said(as_person: Client, person: User) -> None:
    record(person, "req-1")
    assert "Nothing of it is kept" in as_person.get(URL).content.decode()


def test_strangers_and_unknown_requests(as_person: Client) -> None:
    assert Client().get(URL).status_code == 302
    assert as_person.get(URL).status_code == 404
