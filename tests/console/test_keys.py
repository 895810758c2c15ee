"""The page of keys: a key is shown once, and belongs to one person."""

from __future__ import annotations

import re
from datetime import timedelta

from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone

from apikeys import keys
from apikeys.models import ApiKey
from console.models import User

KEYS = "/console/keys/"
MINT = "/console/keys/mint/"


def test_minted_key_is_shown_once_and_left_nowhere(as_person: Client, person: User) -> None:
    answer = as_person.post(MINT, {"name": "CI", "expires": "30"})
    assert (answer.status_code, answer.headers["Location"]) == (302, KEYS)
    first = as_person.get(KEYS)
    match = re.search(r"oag-\w{42}", first.content.decode())
    assert match is not None
    assert keys.is_well_formed(match[0])
    assert "no-store" in first.headers["Cache-Control"]
    assert match[0] not in as_person.get(KEYS).content.decode()
    assert all(match[0] not in str(session.get_decoded()) for session in Session.objects.all())
    key = ApiKey.objects.get(owner=person)
    assert key.expires_at is not None
    assert abs(key.expires_at - timezone.now() - timedelta(days=30)) < timedelta(minutes=1)


def test_minted_page_has_a_call_that_runs(as_person: Client) -> None:
    page = as_person.post(MINT, {"name": "CI", "expires": "never"}, follow=True).content.decode()
    match = re.search(r"oag-\w{42}", page)
    assert match is not None
    assert f"Bearer {match[0]}" in page
    assert "http://testserver/v1/chat/completions" in page


def test_key_that_never_expires_has_no_date(as_person: Client, person: User) -> None:
    as_person.post(MINT, {"name": "CI", "expires": "never"})
    assert ApiKey.objects.get(owner=person).expires_at is None


def test_name_is_asked_for(as_person: Client) -> None:
    answer = as_person.post(MINT, {"name": " ", "expires": "30"})
    assert answer.status_code == 400
    assert "This field is required" in answer.content.decode()
    assert not ApiKey.objects.exists()


def test_expiry_that_is_not_offered_is_refused(as_person: Client) -> None:
    assert as_person.post(MINT, {"name": "CI", "expires": "100000000"}).status_code == 400
    assert not ApiKey.objects.exists()


def test_revoking_ends_the_key(as_person: Client, person: User) -> None:
    key, _ = keys.mint(person, "CI")
    page = as_person.post(f"{KEYS}{key.pk}/revoke/", follow=True).content.decode()
    key.refresh_from_db()
    assert key.status == "revoked"
    assert "is revoked" in page


def test_keys_of_others_are_neither_shown_nor_revoked(
    as_person: Client, person: User, administrator: User
) -> None:
    key, _ = keys.mint(administrator, "Not yours")
    assert "Not yours" not in as_person.get(KEYS).content.decode()
    assert as_person.post(f"{KEYS}{key.pk}/revoke/").status_code == 404
    key.refresh_from_db()
    assert key.status == "active"


def test_looking_at_a_revoke_address_revokes_nothing(as_person: Client, person: User) -> None:
    key, _ = keys.mint(person, "CI")
    assert as_person.get(f"{KEYS}{key.pk}/revoke/").status_code == 405
    key.refresh_from_db()
    assert key.status == "active"


def test_minting_is_limited(as_person: Client) -> None:
    statuses = [as_person.post(MINT, {"name": "CI", "expires": "7"}).status_code for _ in range(21)]
    assert statuses == [302] * 20 + [429]


def test_name_with_markup_is_text(as_person: Client, person: User) -> None:
    keys.mint(person, "<script>alert(1)</script>")
    assert "<script>alert" not in as_person.get(KEYS).content.decode()
