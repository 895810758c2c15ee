"""Nonces of signed requests, each good once."""

from __future__ import annotations

from django.db import models
from django.utils import timezone


class UsedNonce(models.Model):
    """``name`` is the key and what its client called the request. Kept a little longer than a signature
    is good for."""

    name = models.CharField(primary_key=True, max_length=100)
    used_at = models.DateTimeField(default=timezone.now, db_index=True)

    def __str__(self) -> str:
        return self.name
