"""Invitations: how they are made, found again, and used up."""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta

from django.utils import timezone

from console.models import Invitation, User

VALID_FOR = timedelta(days=7)


def invite(email: str, invited_by: User) -> tuple[Invitation, str]:
    """A new invitation and its token: the only time that anybody sees the token. An older invitation of
    the same address that is still open is withdrawn, so that one link works at a time."""
    Invitation.objects.filter(email=email, accepted_at=None).delete()
    token = secrets.token_urlsafe(32)
    invitation = Invitation.objects.create(
        email=email,
        token_hash=_digest(token),
        invited_by=invited_by,
        expires_at=timezone.now() + VALID_FOR,
    )
    return invitation, token


def find(token: str) -> Invitation | None:
    """The open invitation with this token."""
    return Invitation.objects.filter(
        token_hash=_digest(token), accepted_at=None, expires_at__gt=timezone.now()
    ).first()


def accept(invitation: Invitation) -> bool:
    """Whether this call was the one that used the invitation up."""
    return bool(
        Invitation.objects.filter(pk=invitation.pk, accepted_at=None).update(accepted_at=timezone.now())
    )


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()
