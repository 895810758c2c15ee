"""Projects: what owns keys, limits and usage, and who belongs to them."""

from __future__ import annotations

from typing import Literal

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from apikeys.models.limits import LimitFields

Role = Literal["owner", "admin", "member", "viewer"]
Tier = Literal["low", "normal", "high"]
InvitationStatus = Literal["pending", "accepted", "expired"]

ROLES: list[tuple[Role, object]] = [
    ("owner", _("Owner")),
    ("admin", _("Admin")),
    ("member", _("Member")),
    ("viewer", _("Viewer")),
]
TIERS: list[tuple[Tier, object]] = [("low", _("Low")), ("normal", _("Normal")), ("high", _("High"))]


class Project(LimitFields):
    """Owns keys, members, limits and usage. Everybody has a personal one, made with the account.

    Rows are made in ``projects.py`` of this app. ``tier`` says who is served first under load.
    """

    name = models.CharField(_("name"), max_length=100, blank=True)
    personal_of = models.OneToOneField(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        editable=False,
        related_name="personal_project",
    )
    members = models.ManyToManyField(
        settings.AUTH_USER_MODEL, through="apikeys.Membership", related_name="projects"
    )
    tier = models.CharField(_("tier"), max_length=8, choices=TIERS, default="normal")
    keeps_content = models.BooleanField(_("keeps content"), default=False)
    created_at = models.DateTimeField(_("created"), default=timezone.now)

    class Meta:
        verbose_name = _("project")
        verbose_name_plural = _("projects")
        ordering = ("name", "pk")

    def __str__(self) -> str:
        return self.name or gettext("Personal")


class Membership(models.Model):
    """What one person may do in one project: ``roles.py`` of this app says what each role may."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(_("role"), max_length=8, choices=ROLES)
    created_at = models.DateTimeField(_("joined"), default=timezone.now)

    class Meta:
        ordering = ("created_at", "pk")
        constraints = (models.UniqueConstraint(fields=("project", "user"), name="membership_once"),)

    def __str__(self) -> str:
        return f"{self.role} {self.user_id} of project {self.project_id}"


class ProjectInvitation(models.Model):
    """Lets the person with one address join a project. Only the hash of the link's token is kept."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="invitations")
    email = models.EmailField(_("email address"))
    role = models.CharField(_("role"), max_length=8, choices=ROLES)
    token_hash = models.CharField(max_length=64, unique=True)
    invited_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+"
    )
    created_at = models.DateTimeField(_("created"), default=timezone.now)
    expires_at = models.DateTimeField(_("expires"))
    accepted_at = models.DateTimeField(_("accepted"), null=True, blank=True)

    class Meta:
        ordering = ("-created_at", "-pk")

    def __str__(self) -> str:
        return self.email

    @property
    def status(self) -> InvitationStatus:
        if self.accepted_at is not None:
            return "accepted"
        return "pending" if timezone.now() < self.expires_at else "expired"
