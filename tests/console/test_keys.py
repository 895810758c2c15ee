"""The page of keys: a key is shown once, and belongs to one person."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone

from apikeys import keys, signatures
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


def test_a_key_can_be_bounded_from_the_start(as_person: Client) -> None:
    asked = {
        "name": "CI",
        "expires": "30",
        "scopes": ["inference"],
        "models": "smollm2, other",
        "networks": "203.0.113.0/24\n198.51.100.7",
        "requests_per_minute": "60",
        "monthly_money": "20",
        "notes": "the build",
    }
    as_person.post(MINT, asked)
    key = ApiKey.objects.get()
    assert (key.scopes, key.models) == (["inference"], ["smollm2", "other"])
    assert key.networks == ["203.0.113.0/24", "198.51.100.7"]
    assert (key.requests_per_minute, str(key.monthly_money), key.notes) == (60, "20.0000", "the build")


def test_a_key_is_changed_on_its_page(as_person: Client, person: User) -> None:
    soon = timezone.now() + timedelta(days=3)
    key, _ = keys.mint(person, "CI", soon)
    page = as_person.get(f"{KEYS}{key.pk}/").content.decode()
    assert key.prefix in page
    asked = {"name": "CI 2", "expires": "unchanged", "scopes": ["files"], "models": "", "networks": ""}
    assert as_person.post(f"{KEYS}{key.pk}/", asked).status_code == 302
    key.refresh_from_db()
    assert (key.name, key.scopes, key.expires_at) == ("CI 2", ["files"], soon)


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("networks", "203.0.113.7/24", "is no network"),
        ("scopes", [], "Choose one at least"),
        ("scopes", ["everything"], "not one of the available choices"),
        ("tokens_per_minute", "-1", "greater than or equal to"),
    ],
)
def test_what_makes_no_sense_is_told_at_the_field(
    as_person: Client, person: User, field: str, value: object, says: str
) -> None:
    key, _ = keys.mint(person, "CI")
    asked = {"name": "CI", "expires": "unchanged", "scopes": ["files"], field: value}
    answer = as_person.post(f"{KEYS}{key.pk}/", asked)
    assert answer.status_code == 400
    assert says in answer.content.decode()


def test_a_key_is_replaced_with_a_grace_period(as_person: Client, person: User) -> None:
    key, _ = keys.mint(person, "CI")
    page = as_person.post(f"{KEYS}{key.pk}/rotate/", {"grace": "24"}, follow=True).content.decode()
    match = re.search(r"oag-\w{42}", page)
    assert match is not None
    key.refresh_from_db()
    assert key.replaced_by is not None
    assert match[0].startswith(key.replaced_by.prefix)
    assert key.expires_at is not None
    assert abs(key.expires_at - timezone.now() - timedelta(days=1)) < timedelta(minutes=1)


def test_the_signing_secret_is_shown_once(as_person: Client, person: User) -> None:
    page = as_person.post(MINT, {"name": "CI", "expires": "30", "signed": "on"}, follow=True).content.decode()
    key = ApiKey.objects.get()
    assert signatures.secret_of(key).replace("+", "&#x2B;") in page or signatures.secret_of(key) in page
    assert "whsec_" not in as_person.get(KEYS).content.decode()
    other, _ = keys.mint(person, "later")
    asked = {"name": "later", "expires": "unchanged", "scopes": ["files"], "signed": "on"}
    page = as_person.post(f"{KEYS}{other.pk}/", asked, follow=True).content.decode()
    assert "whsec_" in page
    assert "whsec_" not in as_person.get(f"{KEYS}{other.pk}/").content.decode()
