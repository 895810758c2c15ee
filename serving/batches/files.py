"""Where files lie: their bytes in DATA_DIR/files under their ids, their rows in the database.

A file is written first and its row made after that, and its row is deleted first: what dies in between leaves
bytes that no row names, which ``prune`` finds.
"""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.db.models import Q, Sum
from django.http import HttpRequest
from django.utils import timezone

from serving.batches.jsonl import check_file
from serving.batches.models import OPEN, Batch, StoredFile, new_file_id
from serving.batches.schemas import check_upload_fields
from serving.batches.uploads import receive
from serving.errors import BadRequest, Conflict, NotFound, Unavailable

KEPT_FOR = timedelta(days=30)
LARGEST_FILES = 20  # a project may keep as much as so many files of the largest size
UNNAMED_FOR = 3600  # seconds after which bytes that no row names are nobody's


def path_of(file_id: str) -> Path:
    return settings.FILES_DIR / file_id


def upload(request: HttpRequest, project_id: int) -> StoredFile:
    """Keep the file of a form. Raises BadRequest, BodyTooLarge or UnsupportedMediaType, and keeps nothing
    then. For a worker thread."""
    file_id = new_file_id()
    path = path_of(file_id)
    settings.FILES_DIR.mkdir(exist_ok=True)
    try:
        fields, name = receive(request, path)
        check_upload_fields(fields)
        check_file(path)
        _check_room(project_id, path.stat().st_size)
        return add(file_id, project_id, name, "batch")
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise Unavailable(f"The file cannot be stored: {error.strerror}.") from error
        raise


def add(file_id: str, project_id: int, name: str, purpose: str) -> StoredFile:
    """The row of a file whose bytes are in their place."""
    size = path_of(file_id).stat().st_size
    return StoredFile.objects.create(
        id=file_id, project_id=project_id, filename=name, purpose=purpose, bytes=size
    )


async def find(project_id: int, file_id: str) -> StoredFile:
    """Raises NotFound."""
    file = await StoredFile.objects.filter(project_id=project_id, id=file_id).afirst()
    if file is None:
        raise NotFound(f"No such file: '{file_id}'.", param="file_id")
    return file


async def delete(file: StoredFile) -> None:
    """Raises Conflict while a batch needs it."""
    needed = Batch.objects.filter(input_file_id=file.id, status__in=OPEN)
    if (batch := await needed.afirst()) is not None:
        raise Conflict(f"{batch.id} has not ended yet, and needs {file.id}. Cancel it first.")
    path = path_of(file.id)
    await file.adelete()
    path.unlink(missing_ok=True)


def prune() -> int:
    """Deletes batches and files older than KEPT_FOR, and bytes that no row names: how many files."""
    old = Q(created_at__lt=timezone.now() - KEPT_FOR)
    Batch.objects.filter(old).exclude(status__in=OPEN).delete()
    needed = Batch.objects.filter(status__in=OPEN).values("input_file_id")
    StoredFile.objects.filter(old).exclude(id__in=needed).delete()
    named = set(StoredFile.objects.values_list("id", flat=True))
    before = time.time() - UNNAMED_FOR
    lost = [
        p for p in settings.FILES_DIR.glob("file-*") if p.name not in named and p.stat().st_mtime < before
    ]
    for path in lost:
        path.unlink(missing_ok=True)
    return len(lost)


def _check_room(project_id: int, size: int) -> None:
    kept = StoredFile.objects.filter(project_id=project_id).aggregate(bytes=Sum("bytes"))["bytes"] or 0
    most = LARGEST_FILES * settings.FILE_MAX_BYTES
    if kept + size > most:
        raise BadRequest(
            f"The project keeps {kept} bytes of files, and may keep {most}. Delete some.",
            param="file",
            code="storage_full",
        )
