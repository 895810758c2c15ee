"""What Celery does for the API. Every task may run twice, late, or twice at once."""

from __future__ import annotations

from celery import shared_task
from celery.signals import worker_shutting_down

from serving.batches import files, queue, runner
from serving.idempotency import claims


@shared_task(name="serving.prune_kept_answers")  # type: ignore[untyped-decorator]
def prune_kept_answers() -> int:
    """Deletes answers to requests with an Idempotency-Key that need not be given again."""
    return claims.prune()


@shared_task(name=queue.RUN_TASK)  # type: ignore[untyped-decorator]
def run_batch(batch_id: str, token: str) -> None:
    """Works on a batch for as long as it takes, then sees who is next."""
    runner.run(batch_id, token)
    send_batches()


@shared_task(name="serving.send_batches")  # type: ignore[untyped-decorator]
def send_batches() -> int:
    """Sends batches that wait for a worker, or have lost theirs: but not to a worker that is stopping, where
    the message would be lost and its lease be in everybody's way."""
    return 0 if runner.is_stopping() else queue.send_waiting()


@shared_task(name="serving.prune_files")  # type: ignore[untyped-decorator]
def prune_files() -> int:
    """Deletes what nobody keeps any longer."""
    return files.prune()


@worker_shutting_down.connect  # type: ignore[untyped-decorator]
def _let_go(**_: object) -> None:
    """A worker that is told to stop need not wait for the end of a batch."""
    runner.stop()
