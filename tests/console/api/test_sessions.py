"""Signing in for access tokens, exchanging a key, refreshing, revoking."""

from __future__ import annotations

import time

import jwt
import pytest
import requests
from allauth.account.models import EmailAddress
from django.test import Client
from pytest_django import Settings

from apikeys import keys
from apikeys.jwt import sessions
from apikeys.models import Project, TokenSession
from apikeys.projects import personal_project
from console.models import User
from tests.console.api.conftest import Program, error_of, joined, program_of, signed_in
from tests.people import PASSWORD, add_person
from tests.server import Server


def test_signing_in_gives_tokens_that_open_the_api(person: User) -> None:
    answer = Program().post("/sessions", {"email": "Grace@Example.com", "password": PASSWORD})
    assert (answer["token_type"], answer["expires_in"]) == ("Bearer", 600)
    assert answer["scope"] == "files inference manage:read manage:write"
    assert answer["session"]["project"] == personal_project(person).pk
    me = Program(answer["access_token"]).get("/me")
    assert (me["email"], me["credential"]["session"]) == (person.email, answer["session"]["id"])


def test_a_token_may_be_asked_for_with_less(person: User, shared: Project) -> None:
    elsewhere = personal_project(joined(shared, None))
    credentials = {"email": person.email, "password": PASSWORD}
    answer = Program().post("/sessions", {**credentials, "project": shared.pk, "scopes": ["inference"]})
    assert (answer["scope"], answer["session"]["project"]) == ("inference", shared.pk)
    assert Program(answer["access_token"]).ask("GET", "/keys").status_code == 403
    refused = Program().ask("POST", "/sessions", {**credentials, "project": elsewhere.pk})
    assert (refused.status_code, error_of(refused)["param"]) == (400, "project")


@pytest.mark.parametrize("password", ["wrong", PASSWORD.upper()])
def test_a_wrong_password_and_an_unknown_address_look_the_same(person: User, password: str) -> None:
    wrong = Program().ask("POST", "/sessions", {"email": person.email, "password": password})
    unknown = Program().ask("POST", "/sessions", {"email": "nobody@example.com", "password": password})
    assert wrong.status_code == unknown.status_code == 401
    assert error_of(wrong) == error_of(unknown)
    assert error_of(wrong)["code"] == "wrong_password"


def test_tries_at_the_page_and_at_the_api_count_together(person: User) -> None:
    page = Client()
    for _ in range(5):
        page.post("/accounts/login/", {"login": person.email, "password": "wrong"})
        Program().ask("POST", "/sessions", {"email": person.email, "password": "wrong"})
    refused = Program().ask("POST", "/sessions", {"email": person.email, "password": PASSWORD})
    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) > 0


def test_nobody_signs_in_before_the_address_is_confirmed_where_that_is_asked(
    person: User, settings: Settings
) -> None:
    settings.ACCOUNT_EMAIL_VERIFICATION = "mandatory"
    credentials = {"email": person.email, "password": PASSWORD}
    assert Program().ask("POST", "/sessions", credentials).status_code == 403
    EmailAddress.objects.create(user=person, email=person.email, verified=True)
    Program().post("/sessions", credentials)


def test_a_key_is_exchanged_for_tokens_with_no_more_than_its_scopes(person: User) -> None:
    program = program_of(person, ["inference"])
    answer = program.post("/sessions")
    assert answer["scope"] == "inference"
    assert answer["session"]["key"] is not None
    refused = program.ask("POST", "/sessions", {"scopes": ["manage:write"]})
    assert (refused.status_code, error_of(refused)["param"]) == (400, "scopes")


def test_an_access_token_opens_no_session(person: User) -> None:
    assert signed_in(person).ask("POST", "/sessions").status_code == 403


def test_a_stranger_opens_no_session(db: None) -> None:
    refused = Program().ask("POST", "/sessions")
    assert (refused.status_code, error_of(refused)["code"]) == (401, "invalid_api_key")
    assert "WWW-Authenticate" in refused.headers


def test_a_browser_that_has_signed_in_gets_tokens_with_its_csrf_token(person: User) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(person)
    refused = browser.post("/api/v1/sessions", {}, content_type="application/json")
    assert (refused.status_code, error_of(refused)["code"]) == (403, "permission_denied")
    browser.get("/console/keys/")
    token = browser.cookies["csrftoken"].value
    answer = browser.post(
        "/api/v1/sessions", {}, content_type="application/json", headers={"X-CSRFToken": token}
    )
    assert answer.status_code == 201
    assert browser.get("/api/v1/me").json()["credential"]["session"] is None


def test_refreshing_and_coming_twice(person: User) -> None:
    first = Program().post("/sessions", {"email": person.email, "password": PASSWORD})
    second = Program().post("/sessions/refresh", {"refresh_token": first["refresh_token"]}, status=200)
    assert second["session"]["id"] == first["session"]["id"]
    Program(second["access_token"]).get("/me")
    again = Program().ask("POST", "/sessions/refresh", {"refresh_token": first["refresh_token"]})
    assert (again.status_code, error_of(again)["code"]) == (401, "invalid_refresh_token")
    assert Program(second["access_token"]).ask("GET", "/me").status_code == 401


def test_sessions_are_listed_and_ended_by_their_person_alone(person: User) -> None:
    program, other = signed_in(person), signed_in(person)
    stranger = signed_in(add_person("other@example.com"))
    listed = program.get("/sessions")
    assert listed["count"] == 2
    assert [session["current"] for session in listed["results"]].count(True) == 1
    (sid,) = (session["id"] for session in listed["results"] if not session["current"])
    assert stranger.ask("GET", f"/sessions/{sid}").status_code == 404
    assert stranger.ask("DELETE", f"/sessions/{sid}").status_code == 404
    assert program.ask("DELETE", f"/sessions/{sid}").status_code == 204
    assert other.ask("GET", "/me").status_code == 401
    assert program.ask("DELETE", "/sessions").status_code == 204
    assert program.ask("GET", "/me").status_code == 401
    stranger.get("/me")


def test_a_token_is_revoked_by_whoever_holds_it(person: User) -> None:
    tokens = Program().post("/sessions", {"email": person.email, "password": PASSWORD, "scopes": ["files"]})
    again = Program().post("/sessions/refresh", {"refresh_token": tokens["refresh_token"]}, status=200)
    for _ in range(2):
        Program().post("/sessions/revoke", {"token": tokens["access_token"]}, status=204)
    assert "revoked" in error_of(Program(tokens["access_token"]).ask("GET", "/me"))["message"]
    assert Program(again["access_token"]).ask("GET", "/me").status_code == 403, "it holds, without the scope"
    Program().post("/sessions/revoke", {"token": again["refresh_token"]}, status=204)
    assert Program(again["access_token"]).ask("GET", "/me").status_code == 401
    Program().post("/sessions/revoke", {"token": "no token"}, status=204)


def test_the_whole_way_on_a_server(server: Server) -> None:
    """Sign in, call the model API with the token, refresh, sign out."""
    server.create_user("tokens@example.com", PASSWORD)
    url = f"{server.url}/api/v1/sessions"
    answer = requests.post(url, json={"email": "tokens@example.com", "password": PASSWORD}, timeout=30)
    assert answer.status_code == 201
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["x-request-id"].startswith("req-")
    tokens = answer.json()
    signer = jwt.PyJWKClient(f"{server.url}/.well-known/jwks.json").get_signing_key_from_jwt(
        tokens["access_token"]
    )
    said = jwt.decode(
        tokens["access_token"],
        signer,
        algorithms=["ES256"],
        audience="open-autoglm-console",
        issuer=server.url,
    )
    assert said["exp"] > time.time()
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    body = {"model": "open-autoglm-7b", "prompt": "Hello", "max_tokens": 2}
    assert requests.post(f"{server.url}/v1/completions", json=body, headers=headers, timeout=60).ok
    assert requests.delete(url, headers=headers, timeout=30).status_code == 204
    assert requests.get(f"{server.url}/v1/models", headers=headers, timeout=30).status_code == 401


def test_no_session_outlives_its_key(person: User) -> None:
    key, plaintext = keys.mint(person, "short", scopes=["manage:read"])
    tokens = Program(plaintext).post("/sessions")
    keys.revoke(key)
    assert Program(tokens["access_token"]).ask("GET", "/me").status_code == 401
    assert sessions.live(person.pk).count() == TokenSession.objects.count() == 1
