"""What was changed, by whom: a chain to which entries are only ever added."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class AuditEntry(models.Model):
    """One change. ``hash`` covers all that the entry says and the hash of the entry before it.

    Entries outlive people and projects, so the database does not check these references.
    """

    at = models.DateTimeField(_("when"), default=timezone.now)
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        null=True,
        related_name="+",
    )
    actor_name = models.CharField(_("who"), max_length=254)
    address = models.CharField(_("where from"), max_length=45, blank=True)
    source = models.CharField(_("source"), max_length=16)
    action = models.CharField(_("action"), max_length=64)
    subject = models.CharField(_("subject"), max_length=64)
    project = models.ForeignKey(
        "apikeys.Project", on_delete=models.DO_NOTHING, db_constraint=False, null=True, related_name="+"
    )
    before = models.JSONField(_("before"), default=dict)
    after = models.JSONField(_("after"), default=dict)
    previous_hash = models.CharField(max_length=64, unique=True)
    hash = models.CharField(max_length=64, unique=True)

    class Meta:
        verbose_name = _("audit entry")
        verbose_name_plural = _("audit entries")
        ordering = ("-pk",)

    def __str__(self) -> str:
        return f"{self.action} {self.subject}"
