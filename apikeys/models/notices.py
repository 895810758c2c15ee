"""What people were told by mail."""

from __future__ import annotations

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class Notice(models.Model):
    """One mail that must not be sent twice: about ``subject`` (as ``key:1``), ``matter`` and ``period``.

    Rows are made in ``notices.py``.
    """

    subject = models.CharField(max_length=32)
    matter = models.CharField(max_length=32)
    period = models.CharField(max_length=32)
    sent_at = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name = _("notice")
        verbose_name_plural = _("notices")
        constraints = (models.UniqueConstraint(fields=("subject", "matter", "period"), name="notice_once"),)

    def __str__(self) -> str:
        return f"{self.matter} of {self.subject}, {self.period}"
