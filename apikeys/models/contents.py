"""What was said, where a project asks for it to be kept."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from apikeys.models.projects import Project


class RequestContent(models.Model):
    """What one request asked and was answered, sealed by ``contents.py``. Rows are made with the request's
    ``UsageRecord`` and pruned by ``tasks.py``."""

    request_id = models.CharField(max_length=64, unique=True)
    project = models.ForeignKey(
        Project, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    started_at = models.DateTimeField(db_index=True)
    sealed = models.TextField()

    class Meta:
        verbose_name = _("content of a request")
        verbose_name_plural = _("contents of requests")

    def __str__(self) -> str:
        return self.request_id
