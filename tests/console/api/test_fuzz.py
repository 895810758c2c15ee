"""Whatever is sent to /api/v1, the answer is one that the schema tells of; never a 500."""

from __future__ import annotations

import json
import random
from typing import Any
from urllib.parse import urlencode

import pytest

from apikeys import keys, projects
from apikeys.audit import SYSTEM
from apikeys.jwt import sessions
from apikeys.models import Membership
from apikeys.projects import personal_project
from apikeys.scopes import SCOPES
from console.models import User
from tests.console.api.conftest import Program
from tests.console.api.test_openapi import OPERATIONS, sent_with

TRIES = 6
ODD: list[Any] = [
    None, True, False, 0, -1, 1, 3.5, 10**30, -(10**30), 1e308, "", " ", "x", "1", "\x00", "\ud800", "中文🌸",
    "a" * 5000,
    "2026-02-31", "9999-12-31T23:59:59+14:00", "0001-01-01T00:00:00Z", "%", "inference", "owner", "1,2",
    "start,start",
    [], [[]], [None], ["inference", "inference"], [1], {}, {"x": {"y": []}}, "a@b.c", "10.0.0.0/8", "::1",
]  # fmt: skip


def body_of(chance: random.Random, fields: list[str]) -> Any:
    if chance.random() < 0.1:
        return chance.choice(ODD)
    named = [name for name in fields if chance.random() < 0.6]
    if chance.random() < 0.2:
        named.append(chance.choice(["id", "hash", "", "__proto__", "\x00"]))
    return {name: chance.choice(ODD) for name in named}


def query_of(chance: random.Random, fields: list[str]) -> str:
    asked = {name: str(chance.choice(ODD)) for name in fields if chance.random() < 0.4}
    return urlencode(asked, errors="replace")


@pytest.mark.parametrize("name", OPERATIONS)
def test_no_request_breaks_the_management_api(db: None, name: str) -> None:
    person = User.objects.create_user("fuzz@example.com")
    shared = projects.create("shared", person, by=SYSTEM)
    method, _, path = name.partition(" ")
    operation, chance = OPERATIONS[name], random.Random(name)
    fields = list(sent_with(operation))
    key, _ = keys.mint(person, "CI", project=shared)
    member = Membership.objects.get(project=shared, user=person)
    for _ in range(TRIES):
        session = sessions.open_for(person, personal_project(person), SCOPES, "fuzz")
        program = Program(session.access)
        place = path.removeprefix("/api/v1").format(
            id=chance.choice([key.pk, shared.pk, member.pk, 0, 10**30]),
            project=chance.choice([shared.pk, 10**30]),
            sid=chance.choice([session.session.sid, "x", "%EF%BF%BD", "中"]),
            name=chance.choice(["x", "a/b", "%ff", "中"]),
        )
        if method in ("GET", "DELETE"):
            answer = program.ask(method, f"{place}?{query_of(chance, fields)}")
        else:
            answer = program.ask(method, place, body_of(chance, fields))
        assert str(answer.status_code) in operation["responses"], (place, answer.status_code, answer.content)
        if answer.status_code >= 400:
            assert set(json.loads(answer.content)["error"]) >= {"message", "type", "param", "code"}
