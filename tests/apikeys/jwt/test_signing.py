"""Keys follow each other without refusing anybody; the private part is of no use without SECRET_KEY."""

from __future__ import annotations

import json
from datetime import timedelta

import jwt
import pytest
from django.core.management import call_command
from django.utils import timezone
from pytest_django import Settings

from apikeys.jwt import signing
from apikeys.jwt.signing import ANNOUNCED, ROTATED_EVERY, TOKEN_LIFETIME, published, rotate, sign
from apikeys.models import SigningKey
from apikeys.tasks import rotate_signing_key

pytestmark = pytest.mark.django_db


def signer() -> str:
    kid: str = jwt.get_unverified_header(sign({}))["kid"]
    return kid


def kids() -> list[str]:
    return [json.loads(key)["kid"] for key in published()]


def age(by: timedelta) -> None:
    """Time goes by."""
    for key in SigningKey.objects.all():
        SigningKey.objects.filter(pk=key.pk).update(created_at=key.created_at - by)


def test_the_first_token_makes_the_first_key() -> None:
    assert kids() == []
    assert [signer(), signer()] == kids() * 2


def test_a_new_key_is_published_before_it_signs() -> None:
    first = signer()
    second = rotate().kid
    assert (signer(), kids()) == (first, [first, second])
    age(ANNOUNCED)
    assert (signer(), kids()) == (second, [first, second])


def test_an_old_key_goes_when_its_last_token_has_expired() -> None:
    first = signer()
    second = rotate().kid
    age(ANNOUNCED + TOKEN_LIFETIME)
    signing.discard_old()
    assert first in kids()
    age(signing.LEEWAY + timedelta(seconds=1))
    signing.discard_old()
    assert kids() == [second]


def test_a_leaked_key_is_of_no_use_at_once() -> None:
    first = signer()
    rotate()
    call_command("rotatejwtkey", "--leaked")
    assert len(kids()) == 1
    assert kids() == [signer()] != [first]


def test_the_command_makes_a_key_and_says_when_it_signs(capsys: pytest.CaptureFixture[str]) -> None:
    first = signer()
    call_command("rotatejwtkey")
    assert len(kids()) == 2
    assert signer() == first
    assert f"Key {kids()[1]} is published. It begins to sign in 10 minutes." in capsys.readouterr().out


def test_the_task_rotates_when_it_is_time() -> None:
    assert not rotate_signing_key()
    signer()
    assert not rotate_signing_key()
    age(ROTATED_EVERY)
    assert rotate_signing_key()
    assert not rotate_signing_key()
    assert len(kids()) == 2


def test_the_private_key_is_encrypted_with_secret_key(settings: Settings) -> None:
    first = signer()
    assert "PRIVATE" not in SigningKey.objects.get().private
    settings.SECRET_KEY = "changed"
    second = signer()
    assert second != first, "a new one is made, for the old one cannot be opened"
    assert kids() == [first, second], "what the old one has signed holds"


def test_two_keys_made_at_once_do_no_harm() -> None:
    now = timezone.now()
    first, second = rotate(), rotate()
    SigningKey.objects.update(created_at=now)
    assert signer() in {first.kid, second.kid}
    assert set(kids()) == {first.kid, second.kid}
