from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.utils import timezone

from apikeys import keys
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
