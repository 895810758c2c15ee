"""What the API remembers for its callers."""

from __future__ import annotations

from django.conf import settings
from django.db import models


class StoredResponse(models.Model):
    """An answer of /v1/responses, and the conversation up to its end, which another one may go on with."""

    id = models.CharField(primary_key=True, max_length=64)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)
    body = models.JSONField()
    conversation = models.JSONField()

    def __str__(self) -> str:
        return self.id
