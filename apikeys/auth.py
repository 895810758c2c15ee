"""Who is calling."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Literal, cast

from asgiref.sync import sync_to_async
from django.contrib.auth.models import AbstractUser
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from apikeys import keys, known_keys
from apikeys.bounds import Bounds
from apikeys.errors import InvalidApiKey
from apikeys.models import ApiKey, Project, Tier, binding, limits_of

SCHEMES = ("bearer", "apikey")


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody known, who asks for something. Nothing is allowed that is not said here."""

    user_id: int
    key_id: int | None  # None: a signed-in person in the playground
    source: Literal["api", "playground"]
    project_id: int  # whose usage it is
    scopes: frozenset[str] = frozenset()  # of scopes.SCOPES
    models: tuple[str, ...] = ()  # names; none: all
    bounds: tuple[Bounds, ...] = ()  # of key, project and user: those that limit anything
    tier: Tier = "normal"

    @property
    def owner(self) -> str:
        """What limits and fair scheduling go by."""
        return f"user:{self.user_id}" if self.key_id is None else f"key:{self.key_id}"


async def authenticate(authorization: str | None) -> Caller:
    """The caller whom an ``Authorization`` header names: ``Bearer KEY`` or ``ApiKey KEY``.

    Raises ``InvalidApiKey``, which says what is wrong: no key, mistyped, unknown, revoked or expired.
    """
    return _caller(await _find_key_async(authorization))


async def playground_caller(user_id: int) -> Caller:
    """The caller for somebody who has signed in to the site. Asks the database."""
    project = await Project.objects.select_related("personal_of__limits").aget(personal_of_id=user_id)
    limits = None if project.personal_of is None else limits_of(project.personal_of)
    return Caller(
        user_id=user_id,
        key_id=None,
        source="playground",
        project_id=project.pk,
        scopes=frozenset({"inference"}),
        bounds=binding((f"project:{project.pk}", project), (f"user:{user_id}", limits)),
        tier=cast(Tier, project.tier),
    )


class ApiKeyAuthentication(BaseAuthentication):
    """``authenticate`` for REST framework: ``request.user`` is the owner, ``request.auth`` the ``Caller``.

    The owner may be shared with other requests: read it, and change it through a copy of your own.
    """

    def authenticate(self, request: Request) -> tuple[AbstractUser, Caller]:
        """For a worker thread: it may ask the database."""
        key = _find_key(self.authorization(request))
        return key.owner, _caller(key)

    async def aauthenticate(self, request: Request) -> tuple[AbstractUser, Caller]:
        """For the event loop: a known key takes no thread and no query."""
        key = await _find_key_async(self.authorization(request))
        return key.owner, _caller(key)

    def authorization(self, request: Request) -> str | None:
        """Clients written for Anthropic's API send the key by itself."""
        key = request.headers.get("x-api-key")
        return request.headers.get("Authorization") or (f"Bearer {key}" if key else None)

    def authenticate_header(self, request: Request) -> str:
        return InvalidApiKey.CHALLENGE


def _caller(key: ApiKey) -> Caller:
    return Caller(
        user_id=key.owner_id,
        key_id=key.pk,
        source="api",
        project_id=key.project_id,
        scopes=frozenset(key.scopes),
        models=tuple(key.models),
        bounds=key.all_bounds,
        tier=cast(Tier, key.project.tier),
    )


async def _find_key_async(authorization: str | None) -> ApiKey:
    key = known_keys.get(keys.digest(_plaintext(authorization)))
    return await sync_to_async(_find_key)(authorization) if key is None else _check(key)


def _find_key(authorization: str | None) -> ApiKey:
    plaintext = _plaintext(authorization)
    digest = keys.digest(plaintext)
    return _check(known_keys.get(digest) or _look_up(plaintext, digest))


def _look_up(plaintext: str, digest: str) -> ApiKey:
    if not keys.is_well_formed(plaintext):
        raise InvalidApiKey(
            "Incorrect API key provided: it looks mistyped or cut off. "
            f"A key starts with {keys.BRAND} and has {keys.KEY_LENGTH} characters."
        )
    key = known_keys.look_up(plaintext[: keys.PREFIX_LENGTH], digest)
    if key is None or not hmac.compare_digest(key.hash, digest):
        raise InvalidApiKey("Incorrect API key provided: this server knows no such key.")
    return key


def _check(key: ApiKey) -> ApiKey:
    if key.status == "revoked":
        raise InvalidApiKey(f"The API key {key.prefix}… was revoked. Use another one.")
    if key.status == "expired":
        raise InvalidApiKey(f"The API key {key.prefix}… has expired. Use another one.")
    if not key.owner.is_active:
        raise InvalidApiKey(f"The account that owns the API key {key.prefix}… is deactivated.")
    return key


def _plaintext(authorization: str | None) -> str:
    scheme, _, plaintext = (authorization or "").strip().partition(" ")
    plaintext = plaintext.strip()
    if scheme.lower() not in SCHEMES or not plaintext:
        raise InvalidApiKey(
            "You did not provide an API key. Send it in a header: Authorization: Bearer YOUR_API_KEY"
        )
    return plaintext
