from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal

import pytest
from asgiref.sync import async_to_sync
from django.core.exceptions import ValidationError
from django.db.models import F
from django.utils import timezone

from apikeys import keys, known_keys
from apikeys.audit import SYSTEM
from apikeys.auth import Caller, authenticate
from apikeys.errors import InvalidApiKey
from apikeys.models import ApiKey
from console.models import User

Minted = tuple[ApiKey, str]


def test_a_key_is_recognisable_and_long_enough(minted: Minted) -> None:
    _, plaintext = minted
    assert re.fullmatch(r"oag-[0-9A-Za-z]{42}", plaintext)
    assert len(plaintext) == keys.KEY_LENGTH
    assert 62**keys.SECRET_LENGTH >= 2**160


def test_nothing_stored_contains_the_secret(minted: Minted) -> None:
    key, plaintext = minted
    secret = plaintext[keys.PREFIX_LENGTH :]
    row = ApiKey.objects.filter(pk=key.pk).values().get()
    assert not [value for value in row.values() if secret in str(value)]
    assert row["prefix"] == plaintext[:12]


def test_two_keys_differ_in_prefix_and_secret(user: User) -> None:
    (_, one), (_, other) = keys.mint(user, "a"), keys.mint(user, "a")
    assert one[: keys.PREFIX_LENGTH] != other[: keys.PREFIX_LENGTH]
    assert one[keys.PREFIX_LENGTH :] != other[keys.PREFIX_LENGTH :]


def test_the_log_of_minting_names_the_key_but_not_the_secret(
    user: User, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "apikeys")
    key, plaintext = keys.mint(user, "laptop")
    assert key.prefix in caplog.text
    assert plaintext[keys.PREFIX_LENGTH :] not in caplog.text


def test_every_single_mistyped_character_is_noticed(minted: Minted) -> None:
    _, plaintext = minted
    assert keys.is_well_formed(plaintext)
    for place in range(len(plaintext)):
        other = "x" if plaintext[place] != "x" else "y"
        assert not keys.is_well_formed(plaintext[:place] + other + plaintext[place + 1 :])


def test_swapped_neighbours_are_noticed(minted: Minted) -> None:
    _, text = minted
    for place in range(4, len(text) - 1):
        if text[place] != text[place + 1]:
            assert not keys.is_well_formed(text[:place] + text[place + 1] + text[place] + text[place + 2 :])


def test_status_follows_expiry_and_revocation(user: User) -> None:
    now = timezone.now()
    lasting, _ = keys.mint(user, "lasting", now + timedelta(hours=1))
    passed, _ = keys.mint(user, "passed", now - timedelta(seconds=1))
    assert (lasting.status, passed.status) == ("active", "expired")
    keys.revoke(passed)
    assert passed.status == "revoked"


def test_revoking_twice_keeps_the_first_moment(minted: Minted) -> None:
    key, _ = minted
    keys.revoke(key)
    first = key.revoked_at
    assert first is not None
    keys.revoke(key)
    assert key.revoked_at == first


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("scopes", []),
        ("scopes", ["everything"]),
        ("networks", ["203.0.113.7/24"]),  # bits below the mask: most likely not what was meant
        ("networks", ["example.com"]),
        ("networks", "203.0.113.0/24"),
        ("networks", [f"203.0.113.{n}" for n in range(101)]),
        ("models", [""]),
        ("requests_per_minute", 0),
        ("daily_money", Decimal(-1)),
        ("name", ""),
    ],
)
def test_what_makes_no_sense_is_refused_by_the_column(minted: Minted, column: str, value: object) -> None:
    key, _ = minted
    with pytest.raises(ValidationError) as refusal:
        keys.edit(key, by=SYSTEM, **{column: value})  # type: ignore[arg-type]
    assert list(refusal.value.message_dict) == [column]


def test_both_keys_work_while_one_replaces_the_other(minted: Minted) -> None:
    key, plaintext = minted
    keys.edit(key, by=SYSTEM, scopes=["files"], daily_tokens=5, notes="the build")
    successor, new = keys.rotate(key, timedelta(hours=1), by=SYSTEM)
    assert (successor.name, successor.scopes, successor.daily_tokens) == ("laptop", ["files"], 5)
    assert [caller_of(text).key_id for text in (plaintext, new)] == [key.pk, successor.pk]
    key.refresh_from_db()
    assert key.replaced_by == successor
    assert key.expires_at is not None
    ApiKey.objects.filter(pk=key.pk).update(expires_at=key.expires_at - timedelta(hours=1))
    known_keys.forget_key(key)
    assert caller_of(new).key_id == successor.pk
    with pytest.raises(InvalidApiKey, match="expired"):
        caller_of(plaintext)


def test_replacing_a_key_does_not_make_the_old_one_live_longer(user: User) -> None:
    soon = timezone.now() + timedelta(minutes=1)
    key, _ = keys.mint(user, "short", soon)
    keys.rotate(key, timedelta(hours=1), by=SYSTEM)
    assert key.expires_at == soon


def test_a_new_key_lives_as_long_as_the_old_one_did(user: User) -> None:
    key, _ = keys.mint(user, "monthly", timezone.now() + timedelta(days=30))
    ApiKey.objects.filter(pk=key.pk).update(created_at=F("created_at") - timedelta(days=29))
    key.refresh_from_db()
    successor, _ = keys.rotate(key, timedelta(hours=1), by=SYSTEM)
    assert successor.expires_at is not None
    assert abs(successor.expires_at - timezone.now() - timedelta(days=59)) < timedelta(minutes=1)


def test_a_key_is_replaced_once(minted: Minted) -> None:
    key, _ = minted
    keys.rotate(key, timedelta(hours=1), by=SYSTEM)
    with pytest.raises(ValidationError):
        keys.rotate(key, timedelta(hours=1), by=SYSTEM)


def caller_of(plaintext: str) -> Caller:
    return async_to_sync(authenticate)(f"Bearer {plaintext}")
