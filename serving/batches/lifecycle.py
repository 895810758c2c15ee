"""How batches come to be and are cancelled; ``queue.py`` says who works on them.

validating ── in_progress ── finalizing ── completed
    │              │├── (cancelling) ────── cancelled
    └─ failed      │└── (its day is over) ─ expired
"""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from apikeys.auth import Caller
from apikeys.errors import PermissionDenied
from serving.batches.models import OPEN, Batch, StoredFile
from serving.batches.schemas import BatchRequest
from serving.errors import BadRequest, Conflict, NotFound

WINDOW = timedelta(hours=24)
MAX_OPEN = 100  # of one project


def create(caller: Caller, asked: BatchRequest) -> Batch:
    """Raises BadRequest, NotFound or PermissionDenied."""
    if caller.key_id is None:
        raise PermissionDenied("A batch runs in the name of a key: create it with one.")
    file = StoredFile.objects.filter(project_id=caller.project_id, id=asked.input_file_id).first()
    if file is None:
        raise NotFound(f"No such file: '{asked.input_file_id}'.", param="input_file_id")
    if file.purpose != "batch":
        raise BadRequest(f"{file.id} was not uploaded for a batch.", param="input_file_id")
    if Batch.objects.filter(project_id=caller.project_id, status__in=OPEN).count() >= MAX_OPEN:
        raise BadRequest(
            f"The project has {MAX_OPEN} batches that have not ended yet.", code="too_many_batches"
        )
    now = timezone.now()
    return Batch.objects.create(
        project_id=caller.project_id,
        key_id=caller.key_id,
        endpoint=asked.endpoint,
        input_file_id=file.id,
        metadata=asked.metadata,
        created_at=now,
        expires_at=now + WINDOW,
    )


async def find(project_id: int, batch_id: str) -> Batch:
    """Raises NotFound."""
    batch = await Batch.objects.filter(project_id=project_id, id=batch_id).afirst()
    if batch is None:
        raise NotFound(f"No such batch: '{batch_id}'.", param="batch_id")
    return batch


def cancel(batch: Batch) -> None:
    """Whoever works on it stops; what is done is kept. Raises Conflict for one that is past that."""
    stoppable = Batch.objects.filter(pk=batch.pk, status__in=("validating", "in_progress"))
    stoppable.update(status="cancelling", cancelling_at=timezone.now())
    batch.refresh_from_db()
    if batch.status not in ("cancelling", "cancelled"):
        raise Conflict(f"A batch that is {batch.status} cannot be cancelled.")
