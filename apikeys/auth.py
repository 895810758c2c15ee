"""Who is calling."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, cast

from asgiref.sync import sync_to_async
from django.contrib.auth.models import AbstractUser
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from apikeys import keys, known_keys, signatures
from apikeys.addresses import UNKNOWN, client_address
from apikeys.bounds import Bounds
from apikeys.credentials import Credential, look_up, recall
from apikeys.errors import InvalidApiKey
from apikeys.line_calls import LineCall, is_line_call
from apikeys.models import ApiKey, Project, Tier, binding, limits_of

SCHEMES = ("bearer", "apikey")


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody known, who asks for something. Nothing is allowed that is not said here."""

    user_id: int
    key_id: int | None  # None: a person who has signed in
    source: Literal["api", "playground", "batch"]
    project_id: int  # whose usage it is
    scopes: frozenset[str] = frozenset()  # of scopes.SCOPES
    models: tuple[str, ...] = ()  # names; none: all
    bounds: tuple[Bounds, ...] = ()  # of key, project and user: those that limit anything
    tier: Tier = "normal"
    caches_answers: bool = False  # whether an answer may be one that was computed before
    keeps_content: bool = False  # whether the project wants to keep what is said
    session: str | None = None  # where an access token comes from
    address: str = ""  # where the request comes from

    def may_use(self, *names: str) -> bool:
        """Whether any of these names of one model is among those that are allowed."""
        return not self.models or any(name in self.models for name in names)

    @property
    def owner(self) -> str:
        """What limits and fair scheduling go by."""
        return f"user:{self.user_id}" if self.key_id is None else f"key:{self.key_id}"

    @property
    def priority(self) -> int:
        """Higher ones are served first: the lines of a batch have time."""
        return -1 if self.source == "batch" else 0


async def authenticate(authorization: str | None, address: str = UNKNOWN) -> Caller:
    """The caller whom an ``Authorization`` header names: ``Bearer`` and a key or an access token.

    Raises ``InvalidApiKey``, which says what is wrong: no key, mistyped, unknown, revoked or expired; and
    ``PermissionDenied`` for a key that may not be used from ``address``.
    """
    return _caller(await _identify(authorization, address), address)


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
        keeps_content=project.keeps_content,
    )


class ApiKeyAuthentication(BaseAuthentication):
    """``authenticate`` for REST framework: ``request.user`` is the owner, ``request.auth`` the ``Caller``.

    The owner may be shared with other requests: read it, and change it through a copy of your own.
    """

    def authenticate(self, request: Request) -> tuple[AbstractUser, Caller]:
        """For a worker thread: it may ask the database."""
        secret, address = _secret(self.authorization(request)), client_address(request)
        credential = recall(secret, address) or look_up(secret, address)
        if key := credential.signing_key:
            signatures.use_up(key, signatures.check(key, request._request))
        return credential.holder.owner, _caller(credential, address)

    async def aauthenticate(self, request: Request) -> tuple[AbstractUser, Caller]:
        """For the event loop: what is known takes no thread and no query, unless the request is signed."""
        authorization, address = self.authorization(request), client_address(request)
        if authorization is not None and is_line_call(authorization):
            return await _batch_caller(LineCall.read(authorization, request.path, request.body), address)
        credential = await _identify(authorization, address)
        if key := credential.signing_key:
            await sync_to_async(signatures.use_up)(key, signatures.check(key, request._request))
        return credential.holder.owner, _caller(credential, address)

    def authorization(self, request: Request) -> str | None:
        """Clients written for Anthropic's API send the key by itself."""
        key = request.headers.get("x-api-key")
        return request.headers.get("Authorization") or (f"Bearer {key}" if key else None)

    def authenticate_header(self, request: Request) -> str:
        return InvalidApiKey.CHALLENGE


async def _identify(authorization: str | None, address: str) -> Credential:
    secret = _secret(authorization)
    return recall(secret, address) or await sync_to_async(look_up)(secret, address)


def _caller(credential: Credential, address: str) -> Caller:
    holder, token = credential.holder, credential.token
    key = holder if isinstance(holder, ApiKey) else None
    return Caller(
        user_id=holder.owner_id,
        key_id=key.pk if key else None,
        source="api",
        project_id=holder.project_id,
        scopes=credential.scopes,
        models=tuple(key.models) if key else (),
        bounds=holder.all_bounds,
        tier=cast(Tier, holder.project.tier),
        keeps_content=holder.project.keeps_content,
        session=token.sid if token else None,
        address=address,
        caches_answers=key is not None and key.caches_answers,
    )


async def _batch_caller(call: LineCall, address: str) -> tuple[AbstractUser, Caller]:
    """Whoever owns the key in whose name a batch runs, which the site itself asks for."""
    key = known_keys.get(call.hash) or await sync_to_async(known_keys.look_up)(call.prefix, call.hash)
    if key is None or key.hash != call.hash:
        raise InvalidApiKey("The API key in whose name this batch runs is gone.")
    caller = _caller(Credential(keys.check_owner(key)), address)
    return key.owner, replace(caller, source="batch")


def _secret(authorization: str | None) -> str:
    scheme, _, secret = (authorization or "").strip().partition(" ")
    secret = secret.strip()
    if scheme.lower() not in SCHEMES or not secret:
        raise InvalidApiKey(
            "You did not provide an API key. Send it in a header: Authorization: Bearer YOUR_API_KEY"
        )
    return secret
