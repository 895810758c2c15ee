"""What Celery does about keys, tokens and usage. Every task may run twice, late, or twice at once."""

from __future__ import annotations

import logging
import time
from dataclasses import asdict
from datetime import UTC, timedelta
from typing import Any

from celery import shared_task
from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.db.models.functions import TruncHour
from django.utils import timezone

from apikeys.jwt import sessions, signing
from apikeys.models import NOT_ROLLED_UP, ApiKey, UsageRecord, UsageRollup
from apikeys.totals import SUMS_OF_RECORDS, Totals, group

BATCH = 500  # records in one transaction: a web request waits for the write lock for milliseconds only
BREATH = 0.02  # seconds between two batches, in which others get the write lock


WHOSE = ("project_id", "user_id", "key_id", "source", "model")

logger = logging.getLogger(__name__)


@shared_task(name="apikeys.roll_up_usage")  # type: ignore[untyped-decorator]
def roll_up_usage() -> int:
    """Adds the records that no rollup counts yet to the rollups of their hours. How many those were."""
    total = 0
    while counted := _roll_up_batch():
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


@shared_task(name="apikeys.prune_usage")  # type: ignore[untyped-decorator]
def prune_usage() -> int:
    """Deletes records older than USAGE_RETENTION_DAYS. Their rollups stay. How many those were."""
    cutoff = timezone.now() - timedelta(days=settings.USAGE_RETENTION_DAYS)
    old = UsageRecord.objects.filter(started_at__lt=cutoff, rolled_up=True).order_by("started_at")
    total = 0
    while batch := list(old.values_list("pk", flat=True)[:BATCH]):
        deleted, _ = UsageRecord.objects.filter(pk__in=batch).delete()
        total += deleted
        time.sleep(BREATH)
    return total


@shared_task(name="apikeys.rotate_signing_key")  # type: ignore[untyped-decorator]
def rotate_signing_key() -> bool:
    """Whether it was time for a new key to sign access tokens with."""
    return signing.rotate_if_due()


@shared_task(name="apikeys.prune_sessions")  # type: ignore[untyped-decorator]
def prune_sessions() -> int:
    """Deletes sessions of access tokens whose time is over. How many rows those were."""
    return sessions.prune()


def _roll_up_batch() -> int:
    with transaction.atomic():
        fresh = UsageRecord.objects.select_for_update().filter(NOT_ROLLED_UP).order_by("started_at")
        batch = list(fresh.values_list("pk", flat=True)[:BATCH])
        records = UsageRecord.objects.filter(pk__in=batch)
        hour = TruncHour("started_at", tzinfo=UTC)
        for row in group(records, SUMS_OF_RECORDS, *WHOSE, hour=hour):
            whose = dict(zip((*WHOSE, "hour"), row, strict=False))
            _add(whose, Totals(*row[len(whose) :]))
        # In the same transaction: a record is either fresh or in its rollup, never both or neither.
        records.update(rolled_up=True)
    return len(batch)


def _add(whose: dict[str, Any], totals: Totals) -> None:
    """Adds ``totals`` to the rollup of one hour, user, key, source and model."""
    amounts = asdict(totals)
    additions = {field: F(field) + amount for field, amount in amounts.items()}
    if not UsageRollup.objects.filter(**whose).update(**additions):
        UsageRollup.objects.create(**whose, **amounts)
