"""A token in use costs no query, and what ends it is seen within a second."""

from __future__ import annotations

import time
from collections.abc import Iterator

import jwt
import pytest
import requests
from asgiref.sync import async_to_sync
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from apikeys import known_keys
from apikeys.auth import authenticate
from apikeys.errors import InvalidApiKey
from apikeys.jwt import known, sessions, signing
from apikeys.jwt.sessions import Tokens
from apikeys.known import TRUSTED
from apikeys.models import TokenSession
from tests.server import Server

pytestmark = pytest.mark.django_db


def call_with(token: str) -> None:
    async_to_sync(authenticate)(f"Bearer {token}")


@pytest.mark.parametrize("kind", ["signed_in", "exchanged"])
def test_a_warm_token_costs_no_query(
    kind: str, request: pytest.FixtureRequest, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    tokens: Tokens = request.getfixturevalue(kind)
    call_with(tokens.access)
    with django_assert_num_queries(0):
        call_with(tokens.access)


def test_the_next_token_of_a_warm_session_costs_no_query(
    signed_in: Tokens, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    call_with(signed_in.access)
    fresh = sessions.refresh(signed_in.refresh)
    with django_assert_num_queries(0):
        call_with(fresh.access)


def test_a_forged_token_costs_no_query(
    signed_in: Tokens, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    call_with(signed_in.access)
    with django_assert_num_queries(0), pytest.raises(InvalidApiKey):
        call_with(signed_in.access[:-4] + "AAAA")


def test_a_token_by_a_key_that_is_new_here_is_looked_up(signed_in: Tokens) -> None:
    call_with(signed_in.access)
    key, _private = signing._make()  # as another process does: no signal comes from it
    known._published.learn("all", lambda: signing.published()[:1])
    type(key).objects.exclude(pk=key.pk).update(created_at=timezone.now())
    type(key).objects.filter(pk=key.pk).update(created_at=timezone.now() - signing.ANNOUNCED)
    call_with(sessions.refresh(signed_in.refresh).access)


def test_a_leaked_key_signs_nothing_that_holds(signed_in: Tokens) -> None:
    call_with(signed_in.access)
    signing.replace_all()
    with pytest.raises(InvalidApiKey, match="no longer"):
        call_with(signed_in.access)


@pytest.fixture
def watched() -> Iterator[None]:
    known_keys.start()
    known.start()
    yield
    known.stop()
    known_keys.stop()


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("watched")
def test_what_happens_past_the_models_is_seen_within_a_second(
    exchanged: Tokens, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    call_with(exchanged.access)
    with django_assert_num_queries(0):
        for _ in range(11):
            time.sleep(TRUSTED / 10)
            call_with(exchanged.access)
    TokenSession.objects.filter(pk=exchanged.session.pk).update(revoked_at=timezone.now())
    time.sleep(TRUSTED)
    with pytest.raises(InvalidApiKey, match="revoked"):
        call_with(exchanged.access)


def test_published_keys_are_for_everybody_to_read(server: Server) -> None:
    """A token is checked with what the server publishes, as a stranger would; and opens the API."""
    key = server.create_key("jwks@example.com")
    token = server.shell(
        "from apikeys.jwt import sessions; from apikeys.models import ApiKey;"
        f"key = ApiKey.objects.get(prefix={key[:12]!r});"
        "print(sessions.open_with_key(key, key.scopes, '').access)"
    )
    answer = requests.get(f"{server.url}/.well-known/jwks.json", timeout=10)
    assert answer.headers["Cache-Control"] == "public, max-age=600"
    assert set(answer.json()) == {"keys"}
    signer = jwt.PyJWKClient(f"{server.url}/.well-known/jwks.json").get_signing_key_from_jwt(token)
    said = jwt.decode(token, signer, algorithms=["ES256"], audience="open-autoglm-console")
    assert said["scope"] == "files inference"
    headers = {"Authorization": f"Bearer {token}"}
    assert requests.get(f"{server.url}/v1/models", headers=headers, timeout=10).status_code == 200
