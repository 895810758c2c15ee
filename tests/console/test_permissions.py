"""Which pages open for whom."""

from __future__ import annotations

import pytest
from django.test import Client

MEMBERS = [
    "/console/",
    "/console/keys/",
    "/console/usage/",
    "/console/batches/",
    "/console/batches/live/",
    "/console/models/",
    "/console/models/live/",
]


@pytest.mark.parametrize("path", [*MEMBERS, "/console/people/", "/console/prices/", "/console/usage.csv"])
def test_strangers_are_sent_to_sign_in(path: str, db: None) -> None:
    answer = Client().get(path)
    assert answer.status_code == 302
    assert answer.headers["Location"] == f"/accounts/login/?next={path}"


@pytest.mark.parametrize("path", MEMBERS)
def test_members_see_their_pages(path: str, as_person: Client) -> None:
    assert as_person.get(path).status_code == 200


@pytest.mark.parametrize("name", ["People", "Prices"])
def test_some_pages_are_for_administrators(name: str, as_person: Client, as_administrator: Client) -> None:
    path = f"/console/{name.lower()}/"
    assert as_person.get(path).status_code == 403
    assert name not in as_person.get("/console/").content.decode()
    assert as_administrator.get(path).status_code == 200


@pytest.mark.parametrize(
    "path", ["/console/people/invite/", "/console/people/invitations/1/withdraw/", "/console/prices/set/"]
)
def test_members_cannot_act_for_administrators(path: str, as_person: Client) -> None:
    assert as_person.post(path, {"email": "x@example.com"}).status_code == 403


@pytest.mark.parametrize("path", ["/console/keys/mint/", "/accounts/login/", "/i18n/setlang/"])
def test_forms_from_other_sites_are_refused(path: str, person: object) -> None:
    client = Client(enforce_csrf_checks=True)
    answer = client.post(path, {"name": "CI", "expires": "7"})
    assert answer.status_code == 403
    assert "This form has expired" in answer.content.decode()


def test_front_page_is_for_strangers(as_person: Client, db: None) -> None:
    assert Client().get("/").status_code == 200
    assert as_person.get("/").headers["Location"] == "/console/"


def test_unknown_address_gets_the_designed_page(db: None) -> None:
    answer = Client().get("/nothing-here/")
    assert answer.status_code == 404
    assert "Page not found" in answer.content.decode()


@pytest.mark.parametrize("path", ["/", "/accounts/login/", "/accounts/signup/", "/nothing-here/"])
def test_pages_have_nothing_inline(path: str, db: None) -> None:
    answer = Client().get(path)
    page = answer.content.decode()
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert " style=" not in page
    assert "<style" not in page
    assert " onclick=" not in page
