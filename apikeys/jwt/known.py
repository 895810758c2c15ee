"""The sessions in use and the published keys, in memory: a token of a session in use costs no query."""

from __future__ import annotations

from collections.abc import Mapping

from django.contrib.auth import get_user_model
from django.db.models import Model, OuterRef, QuerySet, Subquery
from django.db.models.signals import post_delete, post_save

from apikeys.errors import InvalidAccessToken
from apikeys.jwt import signing
from apikeys.jwt.claims import Claims, UnknownSigner, read
from apikeys.known import Known
from apikeys.models import Membership, Project, SigningKey, TokenSession, UserLimits

_ALL = "all"  # the name under which the published keys are remembered together


def get(token: str) -> tuple[TokenSession, Claims] | None:
    """Whose token it is, and what it says. None: nobody has come with this session lately, ``look_up`` it.
    Raises InvalidAccessToken."""
    published = _published.get(_ALL)
    if published is None:
        return None
    try:
        claims = read(token, published)
    except UnknownSigner:  # the key may be new
        return None
    session = _sessions.get(claims.sid)
    return None if session is None else (session, claims)


def look_up(token: str) -> tuple[TokenSession, Claims]:
    """The same, asked from the database and remembered. Raises InvalidAccessToken."""
    claims = read(token, _published.learn(_ALL, signing.published) or ())
    session = _sessions.learn(claims.sid, rows().filter(sid=claims.sid).first)
    if session is None:
        raise InvalidAccessToken("The access token is refused. Its session is over.")
    return session, claims


def published() -> tuple[str, ...]:
    """The public keys, as ``signing.published`` gives them."""
    return _published.get(_ALL) or _published.learn(_ALL, signing.published) or ()


def rows() -> QuerySet[TokenSession]:
    """With all that says whether they hold and what they may do."""
    role = Membership.objects.filter(user=OuterRef("owner"), project=OuterRef("project")).values("role")
    sessions = TokenSession.objects.select_related("owner__limits", "project", "key__owner")
    return sessions.prefetch_related("revoked_tokens").annotate(role_in_project=Subquery(role[:1]))


def forget_session(session: TokenSession) -> None:
    _sessions.forget(lambda known: known.pk == session.pk)


def forget_sessions_of(user_id: int) -> None:
    _sessions.forget(lambda known: known.owner_id == user_id)


def start() -> None:
    _sessions.start()
    _published.start()


def stop() -> None:
    _sessions.stop()
    _published.stop()


def connect_signals() -> None:
    """For AppConfig.ready."""
    for signal in (post_save, post_delete):
        signal.connect(_session_changed, sender=TokenSession, dispatch_uid="known_sessions")
        signal.connect(_signing_key_changed, sender=SigningKey, dispatch_uid="known_sessions")
        signal.connect(_user_changed, sender=get_user_model(), dispatch_uid="known_sessions")
        signal.connect(_project_changed, sender=Project, dispatch_uid="known_sessions")
        for model in (Membership, UserLimits):
            signal.connect(_person_changed, sender=model, dispatch_uid="known_sessions")


def _ask(known: Mapping[str, TokenSession]) -> Mapping[str, TokenSession]:
    found = rows().filter(pk__in=[session.pk for session in known.values()])
    return {session.sid: session for session in found}


def _ask_published(known: Mapping[str, tuple[str, ...]]) -> Mapping[str, tuple[str, ...]]:
    return {_ALL: signing.published()} if known else {}


_sessions: Known[TokenSession] = Known("session", _ask)
_published: Known[tuple[str, ...]] = Known("signing key", _ask_published)


def _session_changed(instance: TokenSession, **_: object) -> None:
    forget_session(instance)


def _signing_key_changed(**_: object) -> None:
    _published.forget(lambda _: True)


def _user_changed(instance: Model, **_: object) -> None:
    forget_sessions_of(instance.pk)


def _project_changed(instance: Project, **_: object) -> None:
    _sessions.forget(lambda known: known.project_id == instance.pk)


def _person_changed(instance: Membership | UserLimits, **_: object) -> None:
    forget_sessions_of(instance.user_id)
