"""What each role may do in a project: the one place that says so, for pages and for the management API."""

from __future__ import annotations

from typing import Literal, cast

from django.contrib.auth.models import AbstractUser

from apikeys.models import ApiKey, Membership, Project, Role

Permission = Literal["view", "use", "manage", "own"]

MAY: dict[Role, frozenset[Permission]] = {
    # See the project, its members, keys and usage.
    "viewer": frozenset({"view"}),
    # And mint keys of one's own, change and revoke them, and call the API with them.
    "member": frozenset({"view", "use"}),
    # And change everybody's keys, the members, the limits and the settings.
    "admin": frozenset({"view", "use", "manage"}),
    # And make owners and unmake them, and delete the project.
    "owner": frozenset({"view", "use", "manage", "own"}),
}


def may(role: Role | None, permission: Permission) -> bool:
    """``role`` is None for somebody who is not a member: may nothing."""
    return role is not None and permission in MAY[role]


def may_give(role: Role | None, old: Role | None, new: Role | None) -> bool:
    """Whether somebody with ``role`` may make a member of ``old`` one of ``new``; None: no member."""
    return may(role, "own" if "owner" in (old, new) else "manage")


def may_edit(role: Role | None, key: ApiKey, user: AbstractUser) -> bool:
    """Whether ``user``, with ``role`` in the project of ``key``, may change, replace and revoke it."""
    return may(role, "use" if key.owner_id == user.pk else "manage")


def role_in(project: Project, user: AbstractUser) -> Role | None:
    """The role of ``user`` in ``project``. The site's administrators are owners everywhere."""
    if user.is_superuser:
        return "owner"
    membership = Membership.objects.filter(project=project, user_id=user.pk).first()
    return cast(Role, membership.role) if membership else None
