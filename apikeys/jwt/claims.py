"""What an access token says, and whether that is so: signature, issuer, audience, time."""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jwt
from django.conf import settings

from apikeys.errors import InvalidAccessToken
from apikeys.jwt import signing
from apikeys.models import TokenSession

AUDIENCE = "open-autoglm-console"
LONGEST = 4096  # characters
VERIFIED_KEPT = 4096  # tokens whose signature has been checked: that takes longer than all the rest
REQUIRED = ["sub", "iss", "aud", "iat", "exp", "jti", "sid", "scope"]
# The time is left to `read`: it goes on after a token was verified.
OPTIONS: Any = {"require": REQUIRED, "verify_exp": False, "verify_iat": False, "verify_nbf": False}


@dataclass(frozen=True, slots=True)
class Claims:
    """What this server has signed. ``expires_at`` is in seconds since 1970."""

    sid: str
    jti: str
    scopes: frozenset[str]
    expires_at: int


class UnknownSigner(InvalidAccessToken):
    """The key that signed it, is none of those that are known."""


def issue(session: TokenSession, scopes: frozenset[str], role: str) -> tuple[str, Claims]:
    """A new access token of ``session``, and what it says. It ends with the session at the latest."""
    now = int(time.time())
    lifetime = int(signing.TOKEN_LIFETIME.total_seconds())
    expires_at = min(now + lifetime, int(session.expires_at.timestamp()))
    claims = Claims(session.sid, secrets.token_hex(16), scopes, expires_at)
    token = signing.sign(
        {
            "iss": settings.SITE_URL,
            "aud": AUDIENCE,
            "sub": str(session.owner_id),
            "iat": now,
            "exp": expires_at,
            "jti": claims.jti,
            "sid": claims.sid,
            "role": role,
            "scope": " ".join(sorted(scopes)),
            "project": session.project_id,
        }
    )
    return token, claims


def looks_like_token(text: str) -> bool:
    """Whether ``text`` is a JSON Web Token, good or bad, rather than a key."""
    return text.startswith("eyJ") and text.count(".") == 2


def read(token: str, published: tuple[str, ...]) -> Claims:
    """What ``token`` says, if one of the ``published`` keys (JWKs, as JSON) has signed it.

    Raises InvalidAccessToken; UnknownSigner if another key seems to have.
    """
    if len(token) > LONGEST:
        raise _refusal("It is too long.")
    claims = _verify(token, published)
    if claims.expires_at <= time.time():
        raise InvalidAccessToken("The access token has expired. Refresh it, or get another one.")
    return claims


@lru_cache(VERIFIED_KEPT)
def _verify(token: str, published: tuple[str, ...]) -> Claims:
    """One algorithm, whatever the header says: neither ``none``, nor HS256 with the public key as secret."""
    try:
        key = _signer(jwt.get_unverified_header(token), published)
        said = jwt.decode(
            token,
            key,
            algorithms=[signing.ALGORITHM],
            audience=AUDIENCE,
            issuer=settings.SITE_URL,
            options=OPTIONS,
        )
    except jwt.InvalidTokenError as error:
        raise _refusal(f"{error}.") from None
    return Claims(said["sid"], said["jti"], frozenset(said["scope"].split()), said["exp"])


def _signer(header: dict[str, Any], published: tuple[str, ...]) -> jwt.PyJWK:
    if header.get("typ") != signing.TYPE:
        raise _refusal("It is not an access token of this server.")
    for key in map(_jwk, published):
        if key.key_id == header.get("kid"):
            return key
    raise UnknownSigner("The access token is refused. The key that signed it is not, or no longer, in use.")


@lru_cache(16)
def _jwk(published: str) -> jwt.PyJWK:
    return jwt.PyJWK(json.loads(published), signing.ALGORITHM)


def _refusal(why: str) -> InvalidAccessToken:
    return InvalidAccessToken(f"The access token is refused. {why}")
