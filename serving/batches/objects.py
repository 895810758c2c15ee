"""OpenAI's objects: a file, a batch, a page of a list."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

from django.db.models import Q, QuerySet

from serving.batches.files import KEPT_FOR
from serving.batches.models import Batch, StoredFile
from serving.batches.schemas import PageRequest
from serving.errors import BadRequest

Json = dict[str, Any]
Kept = TypeVar("Kept", StoredFile, Batch)


def file_object(file: StoredFile) -> Json:
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.bytes,
        "created_at": _seconds(file.created_at),
        "expires_at": _seconds(file.created_at + KEPT_FOR),
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
    }


def batch_object(batch: Batch) -> Json:
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "errors": {"object": "list", "data": batch.errors} if batch.errors else None,
        "input_file_id": batch.input_file_id,
        "completion_window": "24h",
        "status": batch.status,
        "output_file_id": batch.output_file_id or None,
        "error_file_id": batch.error_file_id or None,
        "created_at": _seconds(batch.created_at),
        "in_progress_at": _seconds(batch.in_progress_at),
        "expires_at": _seconds(batch.expires_at),
        "finalizing_at": _seconds(batch.finalizing_at),
        "completed_at": _seconds(batch.completed_at),
        "failed_at": _seconds(batch.failed_at),
        "expired_at": _seconds(batch.expired_at),
        "cancelling_at": _seconds(batch.cancelling_at),
        "cancelled_at": _seconds(batch.cancelled_at),
        "request_counts": {"total": batch.total, "completed": batch.completed, "failed": batch.failed},
        "metadata": batch.metadata or None,
    }


async def list_object(rows: QuerySet[Kept], page: PageRequest, show: Callable[[Kept], Json]) -> Json:
    """A page of ``rows``. Raises BadRequest for an ``after`` that is not among them."""
    rows = await _after(rows, page) if page.after is not None else rows
    order = ("created_at", "id") if page.order == "asc" else ("-created_at", "-id")
    found = [row async for row in rows.order_by(*order)[: page.limit + 1]]
    data = [show(row) for row in found[: page.limit]]
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": len(found) > page.limit,
    }


async def _after(rows: QuerySet[Kept], page: PageRequest) -> QuerySet[Kept]:
    last = await rows.filter(id=page.after).afirst()
    if last is None:
        raise BadRequest(f"There is nothing with id '{page.after}'.", param="after")
    way = "gt" if page.order == "asc" else "lt"
    same_moment = Q(created_at=last.created_at, **{f"id__{way}": last.id})
    return rows.filter(Q(**{f"created_at__{way}": last.created_at}) | same_moment)


def _seconds(when: datetime | None) -> int | None:
    return None if when is None else int(when.timestamp())
