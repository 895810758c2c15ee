"""Who is first with an Idempotency-Key, and what that request was answered with: rows of ``KeptAnswer``.

All of it asks the database, and is for threads; ``ask`` is the event loop's way to them.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import ParamSpec, TypeVar

from django.db import connection
from django.db.models import Count
from django.utils import timezone

from serving.models import KeptAnswer

KEPT_FOR = timedelta(hours=24)
KEPT_PER_CALLER = 10_000  # answers; the oldest are forgotten first
LARGEST = 4 * 1024 * 1024  # bytes of a body that is kept
BEAT = 10.0  # seconds between two signs of life of whoever is answering
LOST_AFTER = timedelta(seconds=30)  # without one

P = ParamSpec("P")
T = TypeVar("T")


async def ask(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """``call`` in a thread. No connection stays open: who waits for a first request must hold none."""

    def alone() -> T:
        try:
            return call(*args, **kwargs)
        finally:
            connection.close()

    return await asyncio.to_thread(alone)


def claim(owner: str, key: str, fingerprint: str) -> tuple[KeptAnswer, bool]:
    """The row of a key, and whether this call made it: then whoever calls is first, and has to answer.
    The unique constraint decides, so one is first among all processes."""
    now = timezone.now()
    row, first = KeptAnswer.objects.get_or_create(
        owner=owner, key=key, defaults={"fingerprint": fingerprint, "alive_until": now + LOST_AFTER}
    )
    if row.created_at < now - KEPT_FOR:
        row.delete()
        return claim(owner, key, fingerprint)
    return row, first


def stay_alive(pk: int) -> None:
    """Says that the answer is still on its way."""
    KeptAnswer.objects.filter(pk=pk).update(alive_until=timezone.now() + LOST_AFTER)


def keep(pk: int, status: int, headers: Mapping[str, str], body: bytes) -> None:
    KeptAnswer.objects.filter(pk=pk).update(status=status, headers=dict(headers), body=zlib.compress(body, 1))


def lose(pk: int) -> None:
    """There will be no answer to repeat, but the request was carried out: it must not be again."""
    KeptAnswer.objects.filter(pk=pk).update(alive_until=timezone.now())


def forget(pk: int) -> None:
    """As if nobody had come with the key yet."""
    KeptAnswer.objects.filter(pk=pk).delete()


def prune() -> int:
    """Deletes what is older than KEPT_FOR, and of each caller what goes beyond KEPT_PER_CALLER. How many
    those were."""
    deleted, _ = KeptAnswer.objects.filter(created_at__lt=timezone.now() - KEPT_FOR).delete()
    owners = KeptAnswer.objects.values_list("owner").annotate(kept=Count("pk")).order_by()
    for owner, _ in owners.filter(kept__gt=KEPT_PER_CALLER):
        theirs = KeptAnswer.objects.filter(owner=owner)
        newest_beyond = theirs.order_by("-pk").values_list("pk", flat=True)[KEPT_PER_CALLER]
        deleted += theirs.filter(pk__lte=newest_beyond).delete()[0]
    return deleted
