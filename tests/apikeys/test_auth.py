from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from adrf.views import APIView
from asgiref.sync import async_to_sync, sync_to_async
from django.http import HttpResponse
from django.test import AsyncRequestFactory
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from apikeys import keys
from apikeys.addresses import UNKNOWN
from apikeys.audit import SYSTEM
from apikeys.auth import ApiKeyAuthentication, Caller, authenticate, playground_caller
from apikeys.errors import InvalidApiKey, PermissionDenied
from apikeys.models import ApiKey, Membership
from apikeys.projects import personal_project
from console.models import User

pytestmark = pytest.mark.django_db
Minted = tuple[ApiKey, str]


def caller_of(header: str | None, address: str = UNKNOWN) -> Caller:
    return async_to_sync(authenticate)(header, address)


def refusal_of(header: str | None) -> str:
    with pytest.raises(InvalidApiKey) as refusal:
        caller_of(header)
    return refusal.value.message


@pytest.mark.parametrize("scheme", ["Bearer", "ApiKey", "bearer", "APIKEY"])
def test_a_key_opens_under_either_scheme(minted: Minted, scheme: str) -> None:
    key, plaintext = minted
    assert caller_of(f"{scheme} {plaintext}") == Caller(
        user_id=key.owner_id,
        key_id=key.pk,
        source="api",
        project_id=key.project_id,
        scopes=frozenset({"inference", "files"}),
        address=UNKNOWN,
    )


def test_one_query_finds_the_caller(
    minted: Minted, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(1):
        caller_of(f"Bearer {minted[1]}")


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic YTpi", "oag-without-scheme"])
def test_no_key_says_how_to_send_one(header: str | None) -> None:
    assert "Authorization: Bearer YOUR_API_KEY" in refusal_of(header)


def test_a_mistyped_key_is_told_from_a_wrong_one(minted: Minted) -> None:
    key, plaintext = minted
    assert "mistyped" in refusal_of(f"Bearer {plaintext[:-1]}")
    assert "mistyped" in refusal_of("Bearer sk-something-from-another-place")
    ApiKey.objects.filter(pk=key.pk).update(prefix="oag-00000000")
    assert "no such key" in refusal_of(f"Bearer {plaintext}")


def test_the_prefix_alone_does_not_open(minted: Minted, user: User) -> None:
    """A well-formed key whose prefix is another's."""
    key, _ = minted
    other, plaintext = keys.mint(user, "other")
    other.delete()
    ApiKey.objects.filter(pk=key.pk).update(prefix=plaintext[: keys.PREFIX_LENGTH])
    assert "no such key" in refusal_of(f"Bearer {plaintext}")


def test_a_revoked_key_is_refused_at_once(minted: Minted) -> None:
    key, plaintext = minted
    caller_of(f"Bearer {plaintext}")
    keys.revoke(key)
    assert "revoked" in refusal_of(f"Bearer {plaintext}")


def test_an_expired_key_is_refused_at_once(minted: Minted) -> None:
    key, plaintext = minted
    ApiKey.objects.filter(pk=key.pk).update(expires_at=timezone.now() - timedelta(milliseconds=1))
    assert "expired" in refusal_of(f"Bearer {plaintext}")


def test_a_deactivated_owner_is_refused(minted: Minted, user: User) -> None:
    User.objects.filter(pk=user.pk).update(is_active=False)
    assert "deactivated" in refusal_of(f"Bearer {minted[1]}")


@pytest.mark.parametrize(
    ("networks", "opens"),
    [
        (["203.0.113.7"], True),
        (["198.51.100.0/24", "203.0.113.0/24"], True),
        (["2001:db8::/32"], False),
        (["203.0.113.8/32"], False),
    ],
)
def test_a_key_opens_from_its_networks_only(minted: Minted, networks: list[str], opens: bool) -> None:
    key, plaintext = minted
    keys.edit(key, by=SYSTEM, networks=networks)
    for _ in range(2):  # asked from the database, then known
        if opens:
            assert caller_of(f"Bearer {plaintext}", "203.0.113.7").address == "203.0.113.7"
        else:
            with pytest.raises(PermissionDenied, match=r"may not be used from 203\.0\.113\.7"):
                caller_of(f"Bearer {plaintext}", "203.0.113.7")


@pytest.mark.parametrize("role", ["viewer", None])
def test_a_key_ends_with_the_right_to_use_the_project(minted: Minted, user: User, role: str | None) -> None:
    caller_of(f"Bearer {minted[1]}")
    membership = Membership.objects.get(user=user)
    if role is None:
        membership.delete()
    else:
        membership.role = role
        membership.save()
    assert "may not use its project any more" in refusal_of(f"Bearer {minted[1]}")


def test_no_refusal_repeats_the_secret(minted: Minted) -> None:
    key, plaintext = minted
    keys.revoke(key)
    for header in (f"Bearer {plaintext}", f"Bearer {plaintext[:-1]}"):
        assert plaintext[keys.PREFIX_LENGTH : -1] not in refusal_of(header)


def test_a_refusal_is_a_401_with_a_challenge() -> None:
    with pytest.raises(InvalidApiKey) as refusal:
        caller_of(None)
    assert (refusal.value.status, refusal.value.code) == (401, "invalid_api_key")
    assert refusal.value.headers == {"WWW-Authenticate": 'Bearer realm="api"'}


def test_limits_go_by_key_for_programs_and_by_person_in_the_playground(user: User) -> None:
    assert Caller(user_id=3, key_id=7, source="api", project_id=1).owner == "key:7"
    caller = async_to_sync(playground_caller)(user.pk)
    assert (caller.owner, caller.source, caller.key_id) == (f"user:{user.pk}", "playground", None)
    assert caller.project_id == personal_project(user).pk
    assert caller.scopes == {"inference"}


class WhoAmI(APIView):  # type: ignore[misc]
    authentication_classes = (ApiKeyAuthentication,)

    async def get(self, request: Any) -> HttpResponse:
        return HttpResponse(f"{request.user.email} {request.auth.owner}")


@pytest.mark.django_db(transaction=True)
async def test_an_async_rest_view_gets_the_user_and_the_caller() -> None:
    user = await User.objects.acreate(email="async@example.com")
    key, plaintext = await sync_to_async(keys.mint)(user, "async")
    request = AsyncRequestFactory().get("/", headers={"Authorization": f"Bearer {plaintext}"})
    response = await WhoAmI.as_view()(request)
    assert response.content.decode() == f"async@example.com key:{key.pk}"
