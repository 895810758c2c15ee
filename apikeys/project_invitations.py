"""Invitations to projects: how they are made, found again, and used up by whoever has the address."""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta
from typing import cast

from django.contrib.auth.base_user import AbstractBaseUser
from django.db import transaction
from django.utils import timezone

from apikeys import audit, projects
from apikeys.audit import Actor
from apikeys.models import Project, ProjectInvitation, Role

VALID_FOR = timedelta(days=7)


@transaction.atomic
def invite(project: Project, email: str, role: Role, *, by: Actor) -> tuple[ProjectInvitation, str]:
    """A new invitation and its token: the only time that anybody sees the token. An older one of the same
    address that is still open is withdrawn, so that one link works at a time."""
    project.invitations.filter(email=email, accepted_at=None).delete()
    token = secrets.token_urlsafe(32)
    invitation = ProjectInvitation.objects.create(
        project=project,
        email=email,
        role=role,
        token_hash=_digest(token),
        invited_by_id=by.user_id,
        expires_at=timezone.now() + VALID_FOR,
    )
    after = {"email": email, "role": role}
    audit.record(by, "member.invite", invitation, project_id=project.pk, after=after)
    return invitation, token


def find(token: str) -> ProjectInvitation | None:
    """The open invitation with this token."""
    return (
        ProjectInvitation.objects.select_related("project", "invited_by")
        .filter(token_hash=_digest(token), accepted_at=None, expires_at__gt=timezone.now())
        .first()
    )


@transaction.atomic
def accept(invitation: ProjectInvitation, user: AbstractBaseUser, *, by: Actor) -> bool:
    """Makes ``user`` a member. Whether this call was the one that used the invitation up."""
    still_open = ProjectInvitation.objects.filter(pk=invitation.pk, accepted_at=None)
    if not still_open.update(accepted_at=timezone.now()):
        return False
    projects.add_member(invitation.project, user, cast(Role, invitation.role), by=by)
    return True


@transaction.atomic
def withdraw(invitation: ProjectInvitation, *, by: Actor) -> None:
    before = {"email": invitation.email, "role": invitation.role}
    audit.record(by, "member.uninvite", invitation, project_id=invitation.project_id, before=before)
    invitation.delete()


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()
