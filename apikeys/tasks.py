"""What Celery does about keys, tokens and usage. Every task may run twice, late, or twice at once."""

from __future__ import annotations

import logging
import time
from datetime import timedelta
from typing import Any

from celery import shared_task
from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone

from apikeys import notices, signatures
from apikeys.jwt import sessions, signing
from apikeys.models import WIDTHS, ApiKey, RequestContent, UsageRecord, UsageRollup
from apikeys.usage import rollups

BATCH = 100  # rows in one transaction: a web request waits for the write lock for milliseconds only
BREATH = 0.02  # seconds between two batches, in which others get the write lock
MINUTES_KEPT = timedelta(days=2)

logger = logging.getLogger(__name__)


@shared_task(name="apikeys.roll_up_usage")  # type: ignore[untyped-decorator]
def roll_up_usage() -> int:
    """Adds the records that no rollup counts yet to their rollups. How many those were."""
    total = 0
    while counted := rollups.roll_up(BATCH):
        total += counted
        time.sleep(BREATH)
    return total


@shared_task(name="apikeys.expire_keys")  # type: ignore[untyped-decorator]
def expire_keys() -> int:
    """Logs, once for each key, that it has expired. How many those were.

    Nothing waits for this: ``auth`` refuses an expired key by the clock. It is for whoever reads the log.
    """
    expired = ApiKey.objects.filter(expires_at__lte=timezone.now(), revoked_at=None, expiry_noted_at=None)
    noted = 0
    for key in expired:
        if ApiKey.objects.filter(pk=key.pk, expiry_noted_at=None).update(expiry_noted_at=timezone.now()):
            logger.info("Key %s of user %s has expired", key.prefix, key.owner_id)
            noted += 1
    return noted


@shared_task(name="apikeys.send_notices")  # type: ignore[untyped-decorator]
def send_notices() -> int:
    """Mails, once each, that a key will expire or a budget is nearly spent. How many mails those were."""
    return notices.send_all()


@shared_task(name="apikeys.forget_nonces")  # type: ignore[untyped-decorator]
def forget_nonces() -> int:
    """Deletes nonces of signed requests that cannot come again anyway. How many those were."""
    return signatures.forget_old()


@shared_task(name="apikeys.prune_usage")  # type: ignore[untyped-decorator]
def prune_usage() -> int:
    """Deletes what has been kept long enough: contents for CONTENT_RETENTION_DAYS, records and rollups by
    hour for USAGE_RETENTION_DAYS, rollups by minute for MINUTES_KEPT. Rollups by day and week stay. How many
    records those were."""
    now = timezone.now()
    cutoff = now - timedelta(days=settings.USAGE_RETENTION_DAYS)
    _prune(UsageRollup.objects.filter(width="minute", start__lt=now - MINUTES_KEPT))
    # A record's hour leads to it, and so goes after it.
    _prune(UsageRollup.objects.filter(width="hour", start__lt=cutoff - WIDTHS["hour"]))
    old_content = now - timedelta(days=settings.CONTENT_RETENTION_DAYS)
    _prune(RequestContent.objects.filter(started_at__lt=old_content))
    return _prune(UsageRecord.objects.filter(started_at__lt=cutoff, rolled_up=True))


def _prune(old: QuerySet[Any]) -> int:
    """Deletes ``old`` in small batches."""
    total = 0
    while deleted := prune_batch(old):
        total += deleted
        time.sleep(BREATH)
    return total


def prune_batch(old: QuerySet[Any]) -> int:
    """Deletes BATCH rows of ``old`` at most. How many those were."""
    batch = list(old.values_list("pk", flat=True)[:BATCH])
    deleted: int = old.model.objects.filter(pk__in=batch).delete()[0]
    return deleted


@shared_task(name="apikeys.rotate_signing_key")  # type: ignore[untyped-decorator]
def rotate_signing_key() -> bool:
    """Whether it was time for a new key to sign access tokens with."""
    return signing.rotate_if_due()


@shared_task(name="apikeys.prune_sessions")  # type: ignore[untyped-decorator]
def prune_sessions() -> int:
    """Deletes sessions of access tokens whose time is over. How many rows those were."""
    return sessions.prune()
