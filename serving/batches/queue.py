"""Who works on which batch. The table is the queue: ``send_waiting`` hands to Celery what nobody has.

A message on its way and a worker both hold a *lease*, a token with an end. Whoever lets it run out has lost
the batch, and all that is written about a batch is written under its lease. So a message that is lost, a
worker that dies and a worker that only seemed to have died are one case: the lease runs out, and the batch is
sent again.
"""

from __future__ import annotations

import logging
import secrets
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

from celery import current_app
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone
from kombu.exceptions import OperationalError

from serving.batches.models import OPEN, Batch, BatchLine, BatchStatus

SENT_FOR = timedelta(seconds=30)  # that a message may be on its way
LEASE = timedelta(seconds=10)  # that a worker may give no sign of life
AT_ONCE = 4  # batches that the site works on at the same time

RUN_TASK = "serving.run_batch"

logger = logging.getLogger(__name__)


def send_waiting() -> int:
    """Hand the batches that nobody works on to Celery, as long as there is room. How many those were."""
    waiting = list(_unleased().order_by("created_at"))
    running = Counter(_leased().values_list("project_id", flat=True))
    sent = 0
    for batch in [batch for batch in waiting if batch.is_over]:  # they only need to be brought to their end
        sent += _send(batch)
        waiting.remove(batch)
    while waiting and running.total() < AT_ONCE:
        batch = min(waiting, key=lambda batch: running[batch.project_id])  # the oldest of the equals
        waiting.remove(batch)
        running[batch.project_id] += 1
        sent += _send(batch)
    return sent


class Lease:
    """The right to work on one batch. Whatever it cannot write raises LeaseLost."""

    def __init__(self, batch_id: str, token: str) -> None:
        self._token = token
        self._batch_id = batch_id

    def renew(self) -> Batch:
        """For another LEASE. The batch as it is now."""
        self._write(leased_until=timezone.now() + LEASE)
        return Batch.objects.select_related("key").get(pk=self._batch_id)

    def move(self, before: BatchStatus, **fields: Any) -> Batch:
        """Changes a batch that is still in the status ``before``; one that is not may have been cancelled."""
        self._mine().filter(status=before).update(**fields)
        return self.renew()

    @transaction.atomic
    def keep_line(self, number: int, text: str, failed: bool) -> None:
        """Under the lease a line is answered once."""
        counted = {"failed": F("failed") + 1} if failed else {"completed": F("completed") + 1}
        self._write(**counted)
        BatchLine.objects.create(batch_id=self._batch_id, number=number, text=text, failed=failed)

    @transaction.atomic
    def end(self, **fields: Any) -> None:
        """The batch has its last status, and needs its lines no more."""
        self._write(**fields, runner="", leased_until=None)
        BatchLine.objects.filter(batch_id=self._batch_id).delete()

    def give_back(self) -> None:
        """For somebody else to go on with."""
        self._mine().update(runner="", leased_until=None)

    def _write(self, **fields: Any) -> None:
        if not self._mine().update(**fields):
            raise LeaseLost

    def _mine(self) -> QuerySet[Batch]:
        return Batch.objects.filter(pk=self._batch_id, runner=self._token, leased_until__gt=timezone.now())


class LeaseLost(Exception):
    """Somebody else has the batch by now."""


def _unleased() -> QuerySet[Batch]:
    now = timezone.now()
    return Batch.objects.filter(Q(leased_until=None) | Q(leased_until__lte=now), status__in=OPEN)


def _leased() -> QuerySet[Batch]:
    return Batch.objects.filter(leased_until__gt=timezone.now(), status__in=OPEN)


def _send(batch: Batch) -> bool:
    """Whether it is on its way now."""
    token, until = secrets.token_hex(16), timezone.now() + SENT_FOR
    if not _unleased().filter(pk=batch.pk).update(runner=token, leased_until=until):
        return False
    try:
        _publish(batch, token, until)
    except OperationalError as error:
        logger.warning("%s waits until there is a broker again: %s", batch, error)
    return True


def _publish(batch: Batch, token: str, until: datetime) -> None:
    current_app.send_task(RUN_TASK, (batch.pk, token), expires=until, retry=False)
