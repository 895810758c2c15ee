"""The page of access tokens: which programs act for one, and ending that."""

from __future__ import annotations

import pytest
from asgiref.sync import async_to_sync
from django.test import Client

from apikeys import keys
from apikeys.auth import authenticate
from apikeys.errors import InvalidApiKey
from apikeys.jwt import sessions
from apikeys.jwt.sessions import Tokens
from apikeys.projects import personal_project
from console.models import User

PAGE = "/console/sessions/"


def opened(user: User, client: str) -> Tokens:
    return sessions.open_for(user, personal_project(user), ["inference"], client)


def holds(tokens: Tokens) -> bool:
    try:
        async_to_sync(authenticate)(f"Bearer {tokens.access}")
    except InvalidApiKey:
        return False
    return True


def test_one_sees_ones_own_programs_alone(as_person: Client, person: User, administrator: User) -> None:
    assert "No program holds a token of yours" in as_person.get(PAGE).content.decode()
    opened(person, "backup/1.0")
    opened(administrator, "somebody-elses/1.0")
    key, _ = keys.mint(person, "CI")
    tokens = sessions.open_with_key(key, key.scopes, "<script>")
    page = as_person.get(PAGE).content.decode()
    assert "backup/1.0" in page
    assert "the key “CI”" in page
    assert "somebody-elses" not in page
    assert "<script>" not in page.partition("<main")[2].partition("</main")[0]
    assert tokens.access not in page
    assert tokens.refresh not in page


def test_a_session_is_ended_and_so_are_its_tokens(as_person: Client, person: User) -> None:
    ended, other = opened(person, "a"), opened(person, "b")
    page = as_person.post(f"{PAGE}{ended.session.sid}/end/", follow=True).content.decode()
    assert "refused from now on" in page
    assert (holds(ended), holds(other)) == (False, True)
    as_person.post(f"{PAGE}end/")
    assert not holds(other)


def test_a_session_of_somebody_else_is_not_ended(as_person: Client, administrator: User) -> None:
    tokens = opened(administrator, "theirs")
    assert as_person.post(f"{PAGE}{tokens.session.sid}/end/").status_code == 404
    assert holds(tokens)


@pytest.mark.parametrize("path", ["end/", "of-nobody/end/"])
def test_looking_ends_nothing(as_person: Client, person: User, path: str) -> None:
    tokens = opened(person, "a")
    assert as_person.get(PAGE + path).status_code == 405
    assert holds(tokens)
