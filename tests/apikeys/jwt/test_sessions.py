"""A session is kept going by refresh tokens, and ends with whatever it came from."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

import pytest
from asgiref.sync import async_to_sync
from django.utils import timezone

from apikeys import keys
from apikeys.auth import Caller, authenticate
from apikeys.errors import InvalidApiKey, InvalidRefreshToken
from apikeys.jwt import sessions
from apikeys.jwt.sessions import Tokens
from apikeys.models import ApiKey, Membership, Project, RevokedToken, TokenSession
from apikeys.projects import personal_project
from apikeys.tasks import prune_sessions
from console.models import User

pytestmark = pytest.mark.django_db
Minted = tuple[ApiKey, str]


def caller_of(token: str) -> Caller:
    return async_to_sync(authenticate)(f"Bearer {token}")


def refusal_of(token: str) -> str:
    with pytest.raises(InvalidApiKey) as refusal:
        caller_of(token)
    return refusal.value.message


def test_the_token_of_a_key_is_that_key_as_far_as_its_scopes_go(minted: Minted, exchanged: Tokens) -> None:
    of_key = async_to_sync(authenticate)(f"Bearer {minted[1]}")
    caller = caller_of(exchanged.access)
    assert caller.session == exchanged.session.sid
    assert (caller.owner, caller.project_id) == (of_key.owner, of_key.project_id)
    assert (caller.scopes, caller.bounds, caller.models) == (of_key.scopes, of_key.bounds, of_key.models)


def test_a_token_has_no_more_scopes_than_asked_for_nor_than_its_key_has_now(minted: Minted) -> None:
    key, _ = minted
    narrow = sessions.open_with_key(key, ["files"], "").access
    wide = sessions.open_with_key(key, ["files", "inference", "manage:write"], "").access
    assert caller_of(narrow).scopes == {"files"}
    assert caller_of(wide).scopes == {"files", "inference"}
    key.scopes = ["inference"]
    key.save()
    assert caller_of(narrow).scopes == frozenset()
    assert caller_of(wide).scopes == {"inference"}


def test_the_token_of_a_person_has_the_limits_of_person_and_project(user: User, signed_in: Tokens) -> None:
    project = personal_project(user)
    project.requests_per_minute = 5
    project.tier = "high"
    project.save()
    caller = caller_of(signed_in.access)
    assert (caller.user_id, caller.key_id, caller.owner) == (user.pk, None, f"user:{user.pk}")
    assert [bounds.owner for bounds in caller.bounds] == [f"project:{project.pk}"]
    assert caller.tier == "high"
    assert "manage:write" in caller.scopes


def test_a_viewers_token_is_for_looking(user: User) -> None:
    project = Project.objects.create(name="shared")
    membership = Membership.objects.create(project=project, user=user, role="member")
    tokens = sessions.open_for(user, project, ["inference", "manage:read"], "")
    assert caller_of(tokens.access).scopes == {"inference", "manage:read"}
    membership.role = "viewer"
    membership.save()
    assert caller_of(tokens.access).scopes == {"manage:read"}


def test_refreshing_gives_new_tokens_of_the_same_session(signed_in: Tokens) -> None:
    fresh = sessions.refresh(signed_in.refresh)
    assert fresh.session == signed_in.session
    assert fresh.access != signed_in.access
    assert caller_of(fresh.access) == caller_of(signed_in.access)
    assert sessions.refresh(fresh.refresh).session == signed_in.session


def test_a_refresh_token_that_comes_twice_ends_the_session(signed_in: Tokens) -> None:
    fresh = sessions.refresh(signed_in.refresh)
    with pytest.raises(InvalidRefreshToken, match="used before"):
        sessions.refresh(signed_in.refresh)
    assert "revoked" in refusal_of(signed_in.access)
    assert "revoked" in refusal_of(fresh.access)
    with pytest.raises(InvalidApiKey, match="revoked"):
        sessions.refresh(fresh.refresh)


@pytest.mark.parametrize("text", ["", "oagr-", "oagr-" + "0" * 64, "\ud800", "oag-not-a-refresh-token"])
def test_what_is_no_refresh_token_is_refused(text: str) -> None:
    with pytest.raises(InvalidRefreshToken):
        sessions.refresh(text)


def test_half_a_refresh_token_ends_nothing(signed_in: Tokens) -> None:
    with pytest.raises(InvalidRefreshToken):
        sessions.refresh(signed_in.refresh[:-1])
    caller_of(signed_in.access)


def test_the_database_holds_no_token(signed_in: Tokens) -> None:
    row = str(TokenSession.objects.values().get())
    assert signed_in.access not in row
    assert signed_in.refresh not in row
    assert signed_in.refresh[-40:] not in row


def revoke(tokens: Tokens) -> None:
    sessions.revoke(tokens.session)


def revoke_all(tokens: Tokens) -> None:
    assert sessions.revoke_all(tokens.session.owner_id) == 1


def delete(tokens: Tokens) -> None:
    tokens.session.delete()


def deactivate(tokens: Tokens) -> None:
    user = User.objects.get(pk=tokens.session.owner_id)
    user.is_active = False
    user.save()


def delete_person(tokens: Tokens) -> None:
    User.objects.get(pk=tokens.session.owner_id).delete()


def delete_project(tokens: Tokens) -> None:
    Project.objects.get(pk=tokens.session.project_id).delete()


@pytest.mark.parametrize("kind", ["signed_in", "exchanged"])
@pytest.mark.parametrize("end", [revoke, revoke_all, delete, deactivate, delete_person, delete_project])
def test_tokens_end_at_once_with_session_person_and_project(
    kind: str, end: Callable[[Tokens], None], request: pytest.FixtureRequest
) -> None:
    tokens: Tokens = request.getfixturevalue(kind)
    caller_of(tokens.access)
    end(tokens)
    refusal_of(tokens.access)
    with pytest.raises(InvalidApiKey):
        sessions.refresh(tokens.refresh)


def test_tokens_of_a_person_end_when_the_password_changes(user: User, signed_in: Tokens) -> None:
    caller_of(signed_in.access)
    user.set_password("another one")
    user.save()
    assert "password" in refusal_of(signed_in.access)


def test_tokens_of_a_key_outlive_a_password(user: User, exchanged: Tokens) -> None:
    user.set_password("another one")
    user.save()
    caller_of(exchanged.access)


def test_tokens_end_with_the_membership(user: User) -> None:
    project = Project.objects.create(name="shared")
    membership = Membership.objects.create(project=project, user=user, role="member")
    tokens = sessions.open_for(user, project, ["inference"], "")
    caller_of(tokens.access)
    membership.delete()
    assert "left the project" in refusal_of(tokens.access)
    with pytest.raises(InvalidApiKey, match="left the project"):
        sessions.refresh(tokens.refresh)


def revoke_key(key: ApiKey) -> None:
    keys.revoke(key)


def expire_key(key: ApiKey) -> None:
    key.expires_at = timezone.now() - timedelta(milliseconds=1)
    key.save()


def delete_key(key: ApiKey) -> None:
    key.delete()


@pytest.mark.parametrize("end", [revoke_key, expire_key, delete_key])
def test_tokens_end_at_once_with_their_key(
    minted: Minted, exchanged: Tokens, end: Callable[[ApiKey], None]
) -> None:
    caller_of(exchanged.access)
    end(minted[0])
    refusal_of(exchanged.access)
    with pytest.raises(InvalidApiKey):
        sessions.refresh(exchanged.refresh)


def test_no_token_says_that_it_lives_longer_than_its_key(user: User) -> None:
    key, _ = keys.mint(user, "short", timezone.now() + timedelta(seconds=30))
    tokens = sessions.open_with_key(key, key.scopes, "")
    assert tokens.session.expires_at == key.expires_at
    assert tokens.claims.expires_at <= time.time() + 30


def test_one_token_can_be_revoked_alone(signed_in: Tokens) -> None:
    other = sessions.refresh(signed_in.refresh)
    caller_of(signed_in.access)
    sessions.revoke_token(signed_in.session, signed_in.claims)
    sessions.revoke_token(signed_in.session, signed_in.claims)
    assert "revoked" in refusal_of(signed_in.access)
    caller_of(other.access)


def test_a_person_has_so_many_sessions_at_most(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MOST", 2)
    project = personal_project(user)
    first, second, third = (sessions.open_for(user, project, ["files"], "") for _ in range(3))
    refusal_of(first.access)
    caller_of(second.access)
    caller_of(third.access)
    assert sessions.live(user.pk).count() == 2


def test_what_is_over_is_deleted(signed_in: Tokens, exchanged: Tokens) -> None:
    for tokens in (signed_in, exchanged):
        sessions.revoke_token(tokens.session, tokens.claims)
    past = timezone.now() - timedelta(seconds=1)
    TokenSession.objects.filter(pk=signed_in.session.pk).update(expires_at=past)
    RevokedToken.objects.filter(session=exchanged.session).update(expires_at=past)
    prune_sessions()
    assert list(TokenSession.objects.all()) == [exchanged.session]
    assert not RevokedToken.objects.exists()
