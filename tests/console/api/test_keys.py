"""/api/v1/keys: who may do what with which key, and what is refused how."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.utils import timezone

from apikeys import keys, signatures
from apikeys.errors import RateLimited
from apikeys.limits import limiter
from apikeys.models import ApiKey, AuditEntry, Project
from apikeys.projects import personal_project
from console.models import User
from tests.console.api.conftest import MANAGE, Program, error_of, joined, program_of, signed_in
from tests.people import add_administrator


def test_a_minted_key_is_shown_once_and_works(person: User) -> None:
    program = program_of(person)
    answer = program.ask("POST", "/keys", {"name": "CI", "notes": "for tests", "daily_tokens": 1000})
    minted: dict[str, Any] = answer.json()  # type: ignore[attr-defined]
    assert answer.status_code == 201
    assert answer.headers["Location"] == f"/api/v1/keys/{minted['id']}"
    assert keys.is_well_formed(minted["key"])
    assert (minted["scopes"], minted["status"]) == (["inference", "files"], "active")
    read = program.get(f"/keys/{minted['id']}")
    assert "key" not in read
    assert read == {name: value for name, value in minted.items() if name not in ("key", "signing_secret")}
    assert (read["daily_tokens"], read["project"]) == (1000, personal_project(person).pk)
    entry = AuditEntry.objects.first()
    assert entry is not None
    assert (entry.action, entry.actor_id, entry.source) == ("key.mint", person.pk, "api")


def test_what_is_wrong_is_said_field_by_field(person: User) -> None:
    body = {"scopes": ["all"], "networks": ["here"], "daily_tokens": 0, "expires_at": "2001-01-01T00:00:00Z"}
    error = error_of(program_of(person).ask("POST", "/keys", body))
    assert error["code"] == "invalid_fields"
    assert error["message"] == f"{error['param']}: {error['fields'][error['param']][0]}"
    assert set(error["fields"]) == {"name", "scopes[0]", "networks", "daily_tokens", "expires_at"}


@pytest.mark.parametrize("field", ["nmae", "id", "hash", "owner", "revoked_at"])
def test_fields_that_cannot_be_set_are_refused_by_name(person: User, field: str) -> None:
    error = error_of(program_of(person).ask("POST", "/keys", {"name": "CI", field: "x"}))
    assert error["param"] == field
    assert ApiKey.objects.count() == 1


def test_networks_are_checked_as_on_the_page(person: User) -> None:
    answer = program_of(person).ask("POST", "/keys", {"name": "CI", "networks": ["nowhere"]})
    assert (answer.status_code, error_of(answer)["param"]) == (400, "networks")


def test_nobody_gives_scopes_that_they_do_not_have(person: User) -> None:
    program = program_of(person, ["manage:read", "manage:write"])
    assert error_of(program.ask("POST", "/keys", {"name": "CI"}))["param"] == "scopes"
    minted = program.post("/keys", {"name": "CI", "scopes": ["manage:read"]})
    refused = program.ask("PATCH", f"/keys/{minted['id']}", {"scopes": ["inference"]})
    assert (refused.status_code, error_of(refused)["param"]) == (400, "scopes")


def test_looking_needs_manage_read_and_changing_manage_write(person: User) -> None:
    key, _ = keys.mint(person, "CI")
    reader, nobody = program_of(person, ["manage:read"]), program_of(person, ["inference", "files"])
    reader.get("/keys")
    for method, path in (("POST", "/keys"), ("PATCH", f"/keys/{key.pk}"), ("DELETE", f"/keys/{key.pk}")):
        refused = reader.ask(method, path, {"name": "x"})
        assert (refused.status_code, "manage:write" in error_of(refused)["message"]) == (403, True)
    refused = nobody.ask("GET", "/keys")
    assert (refused.status_code, "manage:read" in error_of(refused)["message"]) == (403, True)


def test_a_key_is_changed_in_the_fields_that_are_sent(person: User) -> None:
    key, _ = keys.mint(person, "CI", notes="as before")
    program = program_of(person)
    changed = program.ask("PATCH", f"/keys/{key.pk}", {"name": "builds", "networks": ["10.0.0.0/8"]})
    assert changed.status_code == 200
    key.refresh_from_db()
    assert (key.name, key.notes, key.networks) == ("builds", "as before", ["10.0.0.0/8"])
    keys.revoke(key)
    assert program.ask("PATCH", f"/keys/{key.pk}", {"name": "x"}).status_code == 409


def test_revoking_ends_a_key_and_may_be_said_twice(person: User) -> None:
    key, plaintext = keys.mint(person, "CI", scopes=MANAGE)
    program = program_of(person)
    assert [program.ask("DELETE", f"/keys/{key.pk}").status_code for _ in range(2)] == [204, 204]
    assert Program(plaintext).ask("GET", "/me").status_code == 401
    assert program.get(f"/keys/{key.pk}")["status"] == "revoked"


def test_the_secret_of_a_key_that_signs_is_shown_when_that_is_switched_on(person: User) -> None:
    program = program_of(person)
    minted = program.post("/keys", {"name": "signs", "signed": True})
    key = ApiKey.objects.get(pk=minted["id"])
    assert minted["signing_secret"] == signatures.secret_of(key)
    assert Program(minted["key"]).ask("GET", "/me").status_code == 401, "the key alone opens nothing"
    off = program.ask("PATCH", f"/keys/{key.pk}", {"signed": False}).json()  # type: ignore[attr-defined]
    on = program.ask("PATCH", f"/keys/{key.pk}", {"signed": True}).json()  # type: ignore[attr-defined]
    again = program.ask("PATCH", f"/keys/{key.pk}", {"signed": True}).json()  # type: ignore[attr-defined]
    assert [one["signing_secret"] for one in (off, on, again)] == [None, minted["signing_secret"], None]


def test_a_key_that_may_more_than_oneself_is_not_replaced(person: User) -> None:
    key, _ = keys.mint(person, "CI", scopes=["inference"])
    program = program_of(person, ["manage:write"])
    refused = program.ask("POST", f"/keys/{key.pk}/rotate")
    assert (refused.status_code, "inference" in error_of(refused)["message"]) == (403, True)


def test_a_rotated_key_works_for_the_grace_beside_its_successor(person: User) -> None:
    key, plaintext = keys.mint(person, "CI", scopes=MANAGE)
    program = program_of(person)
    successor = program.post(f"/keys/{key.pk}/rotate", {"grace_seconds": 3600})
    assert (successor["name"], successor["scopes"]) == ("CI", MANAGE)
    Program(successor["key"]).get("/me")
    Program(plaintext).get("/me")
    old = program.get(f"/keys/{key.pk}")
    assert old["replaced_by"] == successor["id"]
    again = program.ask("POST", f"/keys/{key.pk}/rotate")
    assert (again.status_code, error_of(again)["code"]) == (409, "conflict")


def test_lists_come_in_pages_filtered_and_in_order(person: User) -> None:
    program = program_of(person)
    for name in ("b", "a", "c"):
        keys.mint(person, name)
    ended, _ = keys.mint(person, "ended", timezone.now() + timedelta(days=1))
    keys.revoke(ended)
    page = program.get("/keys?ordering=name&page_size=2&page=2&status=active")
    assert [key["name"] for key in page["results"]] == ["c", "program"]
    assert (page["count"], page["next"]) == (4, None)
    assert "page_size=2" in page["previous"]
    assert [key["name"] for key in program.get("/keys?status=revoked")["results"]] == ["ended"]
    assert [key["name"] for key in program.get("/keys?search=prog")["results"]] == ["program"]
    assert program.get("/keys?project=987654321")["results"] == []


@pytest.mark.parametrize(
    "query",
    [
        "status=lost",
        "ordering=hash",
        "page_size=101",
        "page=0",
        "page=x",
        "nmae=CI",
        "owner=me",
        "project=0",
        f"owner={10**30}",  # no database counts so far
    ],
)
def test_a_query_that_makes_no_sense_is_refused(person: User, query: str) -> None:
    refused = program_of(person).ask("GET", f"/keys?{query}")
    assert (refused.status_code, error_of(refused)["param"]) == (400, query.partition("=")[0])


def test_a_page_past_the_end_is_not_there(person: User) -> None:
    assert program_of(person).ask("GET", "/keys?page=9").status_code == 404


@pytest.mark.parametrize("path", ["/keys/0", f"/keys/{10**30}", "/keys/x", "/nothing"])
def test_what_is_not_there_is_a_404(person: User, path: str) -> None:
    assert program_of(person).ask("GET", path).status_code == 404


def test_bodies_that_cannot_be_read_are_refused(person: User) -> None:
    program = program_of(person)
    for body in ("[", "[" * 5000, '{"name": NaN}'):
        answer = program._client.post(
            "/api/v1/keys", body, content_type="application/json", headers=program._headers
        )
        assert answer.status_code == 400
    answer = program._client.post("/api/v1/keys", {"name": "CI"}, headers=program._headers)
    assert answer.status_code == 415
    for whole in ([], "name", 3, None, [1]):
        answer = program._client.post(
            "/api/v1/keys", whole, content_type="application/json", headers=program._headers
        )
        assert answer.status_code == 400
    assert program.ask("PUT", "/keys", {}).status_code == 405


# What each role may do with somebody else's key, and with one of their own.
MATRIX = {
    None: {"read": 404, "change": 404, "mint": 400, "own": 404},
    "viewer": {"read": 200, "change": 403, "mint": 403, "own": 403},
    "member": {"read": 200, "change": 403, "mint": 201, "own": 200},
    "admin": {"read": 200, "change": 200, "mint": 201, "own": 200},
    "owner": {"read": 200, "change": 200, "mint": 201, "own": 200},
}


@pytest.mark.parametrize("role", MATRIX)
def test_each_role_may_do_with_keys_what_it_may(shared: Project, person: User, role: str | None) -> None:
    theirs, _ = keys.mint(person, "theirs", project=shared)
    user = joined(shared, role)
    own, _ = keys.mint(user, "own", project=shared)
    program, may = signed_in(user), MATRIX[role]
    assert program.ask("GET", f"/keys/{theirs.pk}").status_code == may["read"]
    assert program.get("/keys")["count"] == (0 if role is None else 2)
    assert program.ask("PATCH", f"/keys/{theirs.pk}", {"name": "x"}).status_code == may["change"]
    assert program.ask("POST", "/keys", {"name": "x", "project": shared.pk}).status_code == may["mint"]
    assert program.ask("PATCH", f"/keys/{own.pk}", {"name": "x"}).status_code == may["own"]
    for key in (theirs, own):
        expected = may["change"] if key == theirs else may["own"]
        rotated = program.ask("POST", f"/keys/{key.pk}/rotate").status_code
        assert rotated == {200: 201}.get(expected, expected)
        assert program.ask("DELETE", f"/keys/{key.pk}").status_code == {200: 204}.get(expected, expected)


def test_strangers_without_a_credential_are_asked_for_one(db: None) -> None:
    for method, path in (("GET", "/keys"), ("POST", "/keys"), ("DELETE", "/keys/1"), ("GET", "/me")):
        refused = Program().ask(method, path)
        assert (refused.status_code, error_of(refused)["code"]) == (401, "invalid_api_key")


def test_a_key_acts_in_its_own_project_alone(person: User, shared: Project) -> None:
    elsewhere, _ = keys.mint(person, "personal")
    program = program_of(person, project=shared)
    assert program.ask("GET", f"/keys/{elsewhere.pk}").status_code == 404
    refused = program.ask("POST", "/keys", {"name": "x", "project": personal_project(person).pk})
    assert (refused.status_code, error_of(refused)["param"]) == (400, "project")
    assert program.post("/keys", {"name": "x"})["project"] == shared.pk
    tokens = program.post("/sessions")
    assert Program(tokens["access_token"]).ask("GET", f"/keys/{elsewhere.pk}").status_code == 404


def test_an_administrator_of_the_site_sees_all(person: User, shared: Project) -> None:
    key, _ = keys.mint(person, "theirs", project=shared)
    administrator = add_administrator("root@example.com")
    program = signed_in(administrator)
    assert program.ask("PATCH", f"/keys/{key.pk}", {"name": "x"}).status_code == 200


def test_each_request_takes_a_place_in_the_bucket(person: User) -> None:
    program = program_of(person)
    first = program.ask("GET", "/keys")
    second = program.ask("GET", "/models")
    left = [int(answer.headers["x-ratelimit-remaining-requests"]) for answer in (first, second)]
    assert left[0] - left[1] in (0, 1)
    while (refused := program.ask("GET", "/me")).status_code == 200:
        with suppress(RateLimited):
            async_to_sync(limiter.admit)(f"key:{ApiKey.objects.get().pk}")
    assert (refused.status_code, error_of(refused)["code"]) == (429, "rate_limit_exceeded")
