"""What Celery does about what the API remembers. Every task may run twice, late, or twice at once."""

from __future__ import annotations

from celery import shared_task

from serving.idempotency import claims


@shared_task(name="serving.prune_kept_answers")  # type: ignore[untyped-decorator]
def prune_kept_answers() -> int:
    """Deletes answers to requests with an Idempotency-Key that need not be given again."""
    return claims.prune()
