"""Programs that ask at the management API."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest
from django.core.cache import cache
from django.http import HttpResponse
from django.test import Client

from apikeys import keys
from apikeys.limits import limiter
from apikeys.limits.memory import MemoryStore
from apikeys.models import Membership, Project
from console.models import User
from tests.people import PASSWORD, add_person

MANAGE = ["inference", "files", "manage:read", "manage:write"]


class Program:
    """Asks with one key or token; with None, as a stranger."""

    def __init__(self, secret: str | None = None) -> None:
        self._client = Client()
        self._headers = {"Authorization": f"Bearer {secret}"} if secret else {}

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> HttpResponse:
        answer = self._client.generic(
            method,
            f"/api/v1{path}",
            json.dumps({} if body is None else body),
            content_type="application/json",
            headers={**self._headers, **headers},
        )
        return cast(HttpResponse, answer)

    def get(self, path: str) -> Any:
        """What the answer says; it must be a 200."""
        answer = self.ask("GET", path)
        assert answer.status_code == 200, answer.content
        return answer.json()  # type: ignore[attr-defined]

    def post(self, path: str, body: Any = None, status: int = 201) -> Any:
        answer = self.ask("POST", path, body)
        assert answer.status_code == status, answer.content
        return answer.json() if answer.content else None  # type: ignore[attr-defined]


def error_of(answer: Any) -> dict[str, Any]:
    error: dict[str, Any] = answer.json()["error"]
    return error


@pytest.fixture(autouse=True)
def fresh_limits() -> None:
    """Each test starts with all its tries left."""
    cache.clear()  # with all that Redis has of limits
    if isinstance(limiter.store, MemoryStore):
        limiter.store._levels.clear()


@pytest.fixture
def person(db: None) -> User:
    return add_person("grace@example.com")


@pytest.fixture
def shared(person: User) -> Project:
    """A project that ``person`` owns."""
    project = Project.objects.create(name="shared")
    Membership.objects.create(project=project, user=person, role="owner")
    return project


def program_of(user: User, scopes: list[str] = MANAGE, project: Project | None = None) -> Program:
    """With a key of ``user``."""
    _, plaintext = keys.mint(user, "program", project=project, scopes=scopes)
    return Program(plaintext)


def joined(project: Project, role: str | None) -> User:
    """Somebody new, who has ``role`` in ``project``. None: a stranger to it."""
    user = add_person(f"{role or 'stranger'}-{project.pk}@example.com")
    if role is not None:
        Membership.objects.create(project=project, user=user, role=role)
    return user


def signed_in(user: User) -> Program:
    """With an access token of somebody who has signed in."""
    tokens = Program().post("/sessions", {"email": user.email, "password": PASSWORD})
    return Program(tokens["access_token"])
