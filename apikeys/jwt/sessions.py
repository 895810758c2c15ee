"""Sessions: opened by signing in or with a key, kept going by refresh tokens, ended by revoking them."""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import cast

from django.contrib.auth.base_user import AbstractBaseUser
from django.db.models import QuerySet
from django.utils import timezone

from apikeys import keys
from apikeys.errors import InvalidAccessToken, InvalidRefreshToken
from apikeys.jwt import known
from apikeys.jwt.claims import Claims, issue
from apikeys.models import ApiKey, Project, RevokedToken, Role, TokenSession
from apikeys.models.sessions import CLIENT_LIMIT
from apikeys.roles import may
from apikeys.scopes import SCOPES

LIFETIME = timedelta(days=30)  # of a session, refreshed or not
MOST = 200  # live sessions of one person; the one that was refreshed longest ago makes room
REFRESH_BRAND = "oagr-"
_HANDLE_LENGTH, _SECRET_LENGTH = 24, 40  # hexadecimal digits

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a client gets; nobody sees the refresh token again."""

    session: TokenSession
    access: str
    claims: Claims
    refresh: str


def open_with_key(key: ApiKey, scopes: Iterable[str], client: str) -> Tokens:
    """For whoever holds ``key``, until the key ends. Limits and usage stay those of the key."""
    ends = [] if key.expires_at is None else [key.expires_at]
    session = TokenSession(owner=key.owner, project=key.project, key=key)
    return _open(session, scopes, client, *ends)


def open_for(user: AbstractBaseUser, project: Project, scopes: Iterable[str], client: str) -> Tokens:
    """For somebody who has signed in."""
    session = TokenSession(owner_id=user.pk, project=project, auth_hash=user.get_session_auth_hash())
    return _open(session, scopes, client)


def refresh(text: str) -> Tokens:
    """The next tokens of a session. A refresh token is good once: whoever comes with one that was used is
    a thief, or its victim, and neither goes on. Raises InvalidRefreshToken, InvalidAccessToken."""
    session = find(text)
    check(session)
    if session.key is not None:
        keys.check_alive(session.key)
    fresh = _refresh_token(session.handle)
    current = TokenSession.objects.filter(pk=session.pk, refresh_hash=_digest(text), revoked_at=None)
    if not current.update(refresh_hash=_digest(fresh), refreshed_at=timezone.now()):
        logger.warning("A refresh token of session %s was used twice", session.sid)
        revoke(session)
        raise InvalidRefreshToken(
            "This refresh token was used before, so its session was ended. Sign in again."
        )
    return _tokens(session, fresh)


def find(text: str) -> TokenSession:
    """The session that a refresh token, used or not, belongs to. Raises InvalidRefreshToken."""
    handle = text[len(REFRESH_BRAND) :][:_HANDLE_LENGTH]
    session = known.rows().filter(handle=handle).first()
    if session is None or len(text) != len(_refresh_token(handle)):
        raise InvalidRefreshToken("There is no such refresh token.")
    return session


def check(session: TokenSession, token: Claims | None = None) -> None:
    """Whether ``session`` and ``token`` hold. A key that they came from is checked as a key is.
    Raises InvalidAccessToken."""
    if token is not None and token.jti in session.revoked_jtis:
        raise InvalidAccessToken("The access token was revoked.")
    if session.status != "active":
        raise InvalidAccessToken(f"The session of this token is {session.status}. Sign in again.")
    if session.key_id is None:
        _check_person(session)


def scopes_of(session: TokenSession) -> frozenset[str]:
    """What the tokens of somebody who signed in are good for at this moment."""
    return frozenset(session.scopes) & allowed_scopes(role_of(session))


def allowed_scopes(role: Role | None) -> frozenset[str]:
    """Who may only look at a project, has no use of its models."""
    return frozenset(SCOPES) if may(role, "use") else frozenset({"manage:read"})


def role_of(session: TokenSession) -> Role | None:
    """The person's role in the session's project; ``session`` is one of ``known.rows()``."""
    if session.owner.is_superuser:
        return "owner"
    return cast(Role | None, session.role_in_project)  # type: ignore[attr-defined]


def live(user_id: int) -> QuerySet[TokenSession]:
    """The one last refreshed comes first."""
    now = timezone.now()
    return TokenSession.objects.filter(owner_id=user_id, revoked_at=None, expires_at__gt=now)


def revoke(session: TokenSession) -> None:
    """Ends all tokens of ``session``, at once and for good."""
    if TokenSession.objects.filter(pk=session.pk, revoked_at=None).update(revoked_at=timezone.now()):
        logger.info("Session %s of user %s was revoked", session.sid, session.owner_id)
    known.forget_session(session)
    session.refresh_from_db(fields=["revoked_at"])


def revoke_all(user_id: int) -> int:
    """Ends all tokens of one person. How many sessions those were."""
    ended = live(user_id).update(revoked_at=timezone.now())
    logger.info("All %s sessions of user %s were revoked", ended, user_id)
    known.forget_sessions_of(user_id)
    return ended


def revoke_token(session: TokenSession, claims: Claims) -> None:
    """Ends one access token; its session goes on."""
    expires_at = datetime.fromtimestamp(claims.expires_at, UTC)
    RevokedToken.objects.get_or_create(
        jti=claims.jti, defaults={"session": session, "expires_at": expires_at}
    )
    known.forget_session(session)


def prune() -> int:
    """Deletes sessions and revoked tokens whose time is over. How many rows those were."""
    over = {"expires_at__lte": timezone.now()}
    return RevokedToken.objects.filter(**over).delete()[0] + TokenSession.objects.filter(**over).delete()[0]


def _open(session: TokenSession, scopes: Iterable[str], client: str, *ends: datetime) -> Tokens:
    session.sid, session.handle = secrets.token_hex(16), secrets.token_hex(_HANDLE_LENGTH // 2)
    text = _refresh_token(session.handle)
    session.refresh_hash = _digest(text)
    session.scopes = sorted(scopes)
    session.client = client[:CLIENT_LIMIT]
    session.expires_at = min([timezone.now() + LIFETIME, *ends])
    session.save()
    _make_room(session.owner_id)
    logger.info("Session %s of user %s was opened", session.sid, session.owner_id)
    return _tokens(known.rows().get(pk=session.pk), text)


def _tokens(session: TokenSession, refresh_token: str) -> Tokens:
    scopes = frozenset(session.key.scopes) & frozenset(session.scopes) if session.key else scopes_of(session)
    token, claims = issue(session, scopes, role_of(session) or "")
    return Tokens(session, token, claims, refresh_token)


def _make_room(user_id: int) -> None:
    oldest = live(user_id).values_list("pk", flat=True)[MOST:]
    TokenSession.objects.filter(pk__in=list(oldest)).delete()


def _refresh_token(handle: str) -> str:
    return f"{REFRESH_BRAND}{handle}{secrets.token_hex(_SECRET_LENGTH // 2)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()


def _check_person(session: TokenSession) -> None:
    if not session.owner.is_active:
        raise InvalidAccessToken("The account that this token belongs to is deactivated.")
    if session.is_of_an_old_password:
        raise InvalidAccessToken("The password has been changed since. Sign in again.")
    if role_of(session) is None:
        raise InvalidAccessToken("The person that this token belongs to has left the project.")
