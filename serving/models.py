"""What the API remembers for its callers."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from serving.batches.models import Batch as Batch
from serving.batches.models import BatchLine as BatchLine
from serving.batches.models import StoredFile as StoredFile
from serving.kept_json import KeptJSON


class StoredResponse(models.Model):
    """An answer of /v1/responses, and the conversation up to its end, which another one may go on with."""

    id = models.CharField(primary_key=True, max_length=64)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)
    body = KeptJSON()
    conversation = KeptJSON()

    def __str__(self) -> str:
        return self.id


class KeptAnswer(models.Model):
    """What a POST with an ``Idempotency-Key`` was answered with, to be answered again.

    Whoever makes the row is first, and answers. While ``status`` is None that is under way, if
    ``alive_until`` has not passed; else it was lost.
    """

    owner = models.CharField(max_length=64)  # of the Caller
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64)  # of what was asked
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)
    alive_until = models.DateTimeField()
    status = models.PositiveSmallIntegerField(null=True)
    headers = models.JSONField(default=dict)
    body = models.BinaryField(default=b"")  # zlib

    class Meta:
        constraints = (models.UniqueConstraint(fields=("owner", "key"), name="kept_answer_once"),)

    def __str__(self) -> str:
        return f"{self.owner} {self.key}"
