"""Addresses that nobody may come from."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apikeys.validation import validate_network


class BlockedAddress(models.Model):
    """One network, in CIDR or as one address. ``blocked_by`` is nobody for what was blocked by itself.

    Rows are made and deleted in ``blocking.py`` of this app.
    """

    network = models.CharField(_("network"), max_length=43, unique=True, validators=[validate_network])
    reason = models.CharField(_("reason"), max_length=200, blank=True)
    until = models.DateTimeField(_("until"), null=True, blank=True)
    blocked_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    created_at = models.DateTimeField(_("created"), default=timezone.now)

    class Meta:
        ordering = ("-created_at", "-pk")

    def __str__(self) -> str:
        return self.network
