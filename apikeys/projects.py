"""How projects come to be and change, and who belongs to them. ``roles.py`` says who may do all this."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, TypedDict, Unpack

from django.contrib.auth import get_user_model
from django.contrib.auth.base_user import AbstractBaseUser
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import F, QuerySet
from django.db.models.signals import post_save
from django.utils.translation import gettext as _

from apikeys import audit
from apikeys.audit import Actor
from apikeys.bounds import LIMIT_NAMES
from apikeys.models import Membership, Project, Role, Tier

# What may be changed of a project, and what the audit log says of it.
SETTINGS = ("name", "tier", "keeps_content", *LIMIT_NAMES)


class ProjectSettings(TypedDict, total=False):
    """SETTINGS, typed."""

    name: str
    tier: Tier
    keeps_content: bool
    requests_per_minute: int | None
    tokens_per_minute: int | None
    max_concurrency: int | None
    daily_tokens: int | None
    monthly_tokens: int | None
    daily_money: Decimal | None
    monthly_money: Decimal | None


def personal_project(user: AbstractBaseUser) -> Project:
    """The project that came with the account of ``user``."""
    return Project.objects.get(personal_of_id=user.pk)


def projects_of(user: AbstractBaseUser) -> QuerySet[Project]:
    """Those that ``user`` belongs to, the personal one first."""
    return Project.objects.filter(memberships__user_id=user.pk).order_by(
        F("personal_of").desc(nulls_last=True), "name", "pk"
    )


@transaction.atomic
def create(name: str, owner: AbstractBaseUser, *, by: Actor) -> Project:
    """Raises ``ValidationError``."""
    project = Project(name=name)
    project.full_clean()
    if not name:
        raise ValidationError({"name": _("A project needs a name.")})
    project.save()
    Membership.objects.create(project=project, user_id=owner.pk, role="owner")
    audit.record(
        by,
        "project.create",
        project,
        project_id=project.pk,
        after={**audit.snapshot(project, SETTINGS), "owner": owner.get_username()},
    )
    return project


@transaction.atomic
def edit(project: Project, *, by: Actor, **settings: Unpack[ProjectSettings]) -> None:
    """Changes what ``settings`` say. Raises ``ValidationError``, which names the columns."""
    before = audit.snapshot(Project.objects.select_for_update().get(pk=project.pk), SETTINGS)
    for field, value in settings.items():
        setattr(project, field, value)
    project.full_clean()
    project.save(update_fields=list(settings))
    after = audit.snapshot(project, SETTINGS)
    audit.record(by, "project.edit", project, project_id=project.pk, before=before, after=after)


@transaction.atomic
def delete(project: Project, *, by: Actor) -> None:
    """With its keys; what was used stays in the books. Raises ``ValidationError`` for a personal one."""
    if project.personal_of_id is not None:
        raise ValidationError(_("A personal project goes with its account only."))
    before = audit.snapshot(project, SETTINGS)
    audit.record(by, "project.delete", project, project_id=project.pk, before=before)
    project.delete()


@transaction.atomic
def add_member(project: Project, user: AbstractBaseUser, role: Role, *, by: Actor) -> Membership:
    """Somebody who belongs to it already keeps the role that they have."""
    membership, new = Membership.objects.get_or_create(
        project=project, user_id=user.pk, defaults={"role": role}
    )
    if new:
        _note("member.add", membership, by, {}, {"role": role})
    return membership


@transaction.atomic
def set_role(membership: Membership, role: Role, *, by: Actor) -> None:
    """Raises ``ValidationError`` if that would leave the project without an owner."""
    before = {"role": membership.role}
    membership.role = role
    membership.save(update_fields=["role"])
    _require_owner(membership)
    _note("member.role", membership, by, before, {"role": role})


@transaction.atomic
def remove_member(membership: Membership, *, by: Actor) -> None:
    """Their keys in this project stop working. Raises ``ValidationError`` as ``set_role`` does."""
    _note("member.remove", membership, by, {"role": membership.role}, {})
    membership.delete()
    _require_owner(membership)


def connect_signals() -> None:
    """For AppConfig.ready."""
    post_save.connect(_account_made, sender=get_user_model(), dispatch_uid="personal_project")


def _require_owner(membership: Membership) -> None:
    project = Project.objects.select_for_update().get(pk=membership.project_id)
    if project.personal_of_id == membership.user_id:
        raise ValidationError(_("A personal project stays with its owner."))
    if not project.memberships.filter(role="owner").exists():
        raise ValidationError(_("A project needs an owner: make somebody else one first."))


def _note(
    action: str, membership: Membership, by: Actor, before: dict[str, Any], after: dict[str, Any]
) -> None:
    who = {"user": membership.user.get_username()}
    before, after = ({**said, **who} if said else {} for said in (before, after))
    audit.record(by, action, membership, project_id=membership.project_id, before=before, after=after)


def _account_made(instance: AbstractBaseUser, created: bool, raw: bool = False, **_: Any) -> None:
    """``raw``: a fixture is loaded, which has the project too."""
    if created and not raw:
        with transaction.atomic():
            project = Project.objects.create(personal_of_id=instance.pk)
            Membership.objects.create(project=project, user_id=instance.pk, role="owner")
