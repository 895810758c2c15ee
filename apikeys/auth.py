"""Who is calling."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Literal

from asgiref.sync import sync_to_async
from django.contrib.auth.models import AbstractUser
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from apikeys import keys
from apikeys.errors import InvalidApiKey
from apikeys.models import ApiKey

SCHEMES = ("bearer", "apikey")


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody known, who asks for something."""

    user_id: int
    key_id: int | None  # None: a signed-in person in the playground
    source: Literal["api", "playground"]

    @property
    def owner(self) -> str:
        """What limits and fair scheduling go by."""
        return f"user:{self.user_id}" if self.key_id is None else f"key:{self.key_id}"


async def authenticate(authorization: str | None) -> Caller:
    """The caller whom an ``Authorization`` header names: ``Bearer KEY`` or ``ApiKey KEY``.

    Raises ``InvalidApiKey``, which says what is wrong: no key, mistyped, unknown, revoked or expired.
    """
    return _caller(await sync_to_async(_find_key)(authorization))


def playground_caller(user_id: int) -> Caller:
    """The caller for somebody who has signed in to the site."""
    return Caller(user_id=user_id, key_id=None, source="playground")


class ApiKeyAuthentication(BaseAuthentication):
    """``authenticate`` for REST framework: ``request.user`` is the owner, ``request.auth`` the ``Caller``.

    It is not async: adrf asks it in a worker thread, where the database may be used directly, while an
    async one would go back to the event loop and from there to a thread again.
    """

    def authenticate(self, request: Request) -> tuple[AbstractUser, Caller]:
        key = _find_key(request.headers.get("Authorization"))
        return key.owner, _caller(key)

    def authenticate_header(self, request: Request) -> str:
        return InvalidApiKey.CHALLENGE


def _caller(key: ApiKey) -> Caller:
    return Caller(user_id=key.owner_id, key_id=key.pk, source="api")


def _find_key(authorization: str | None) -> ApiKey:
    plaintext = _parse(authorization)
    key = ApiKey.objects.select_related("owner").filter(prefix=plaintext[: keys.PREFIX_LENGTH]).first()
    if key is None or not hmac.compare_digest(key.hash, keys.digest(plaintext)):
        raise InvalidApiKey("Incorrect API key provided: this server knows no such key.")
    if key.status == "revoked":
        raise InvalidApiKey(f"The API key {key.prefix}… was revoked. Use another one.")
    if key.status == "expired":
        raise InvalidApiKey(f"The API key {key.prefix}… has expired. Use another one.")
    if not key.owner.is_active:
        raise InvalidApiKey(f"The account that owns the API key {key.prefix}… is deactivated.")
    return key


def _parse(authorization: str | None) -> str:
    scheme, _, plaintext = (authorization or "").strip().partition(" ")
    plaintext = plaintext.strip()
    if scheme.lower() not in SCHEMES or not plaintext:
        raise InvalidApiKey(
            "You did not provide an API key. Send it in a header: Authorization: Bearer YOUR_API_KEY"
        )
    if not keys.is_well_formed(plaintext):
        raise InvalidApiKey(
            "Incorrect API key provided: it looks mistyped or cut off. "
            f"A key starts with {keys.BRAND} and has {keys.KEY_LENGTH} characters."
        )
    return plaintext
