"""The keys that access tokens are signed with, and the sessions that the tokens belong to."""

from __future__ import annotations

from typing import Literal

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.functional import cached_property

from apikeys.bounds import Bounds
from apikeys.models.keys import ApiKey
from apikeys.models.limits import binding, limits_of
from apikeys.models.projects import Project

SessionStatus = Literal["active", "expired", "revoked"]
CLIENT_LIMIT = 200  # characters of a User-Agent that are kept


class SigningKey(models.Model):
    """A pair of keys: with one this site signs tokens, with the other anybody checks them.

    Rows are made and deleted in ``apikeys/jwt/signing.py``, nowhere else.
    """

    kid = models.CharField(max_length=32, unique=True)
    public = models.TextField()  # a JWK, as JSON
    private = models.TextField()  # encrypted
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ("created_at", "pk")

    def __str__(self) -> str:
        return self.kid


class TokenSession(models.Model):
    """Leave to get access tokens, each good for minutes: given to somebody who signed in or had a key.

    There is one refresh token at a time: ``handle`` is the part of it that names the session, and
    ``refresh_hash`` that of the whole. A session of somebody who signed in has no ``key``, and ends when
    the password changes: ``auth_hash`` is Django's digest of it.

    Rows are made and ended in ``apikeys/jwt/sessions.py``, nowhere else.
    """

    sid = models.CharField(max_length=32, unique=True)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="+")
    key = models.ForeignKey(ApiKey, on_delete=models.CASCADE, null=True, related_name="+")
    auth_hash = models.CharField(max_length=64, blank=True)
    scopes = models.JSONField()
    client = models.CharField(max_length=CLIENT_LIMIT, blank=True)
    handle = models.CharField(max_length=32, unique=True)
    refresh_hash = models.CharField(max_length=64)
    created_at = models.DateTimeField(default=timezone.now)
    refreshed_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(db_index=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-refreshed_at", "-pk")

    def __str__(self) -> str:
        return self.sid

    @property
    def status(self) -> SessionStatus:
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at <= timezone.now() else "active"

    @cached_property
    def all_bounds(self) -> tuple[Bounds, ...]:
        """Of the project and its owner: those that limit anything."""
        return binding(
            (f"project:{self.project_id}", self.project), (f"user:{self.owner_id}", limits_of(self.owner))
        )

    @cached_property
    def is_of_an_old_password(self) -> bool:
        return self.key_id is None and self.auth_hash != self.owner.get_session_auth_hash()

    @cached_property
    def revoked_jtis(self) -> frozenset[str]:
        """Those of its tokens that were revoked one by one."""
        return frozenset(token.jti for token in self.revoked_tokens.all())


class RevokedToken(models.Model):
    """One access token that is refused before its time; kept until that time."""

    session = models.ForeignKey(TokenSession, on_delete=models.CASCADE, related_name="revoked_tokens")
    jti = models.CharField(max_length=32, unique=True)
    expires_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return self.jti
