"""What a batch leaves: a file of answers and a file of errors, as OpenAI writes them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, Self, TypeVar

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from serving.batches import files
from serving.batches.jsonl import InputLine, parse_line, read_lines
from serving.batches.models import Batch, new_file_id
from serving.batches.queue import Lease
from serving.batches.sender import Answer

ROWS = 500  # in memory at a time
RENEW_EVERY = 1000  # lines

Thing = TypeVar("Thing")

# Why a line has no answer, by how its batch ends.
_REASONS = {
    "expired": ("batch_expired", "This request was not answered before the completion window expired."),
    "cancelled": ("batch_cancelled", "The batch was cancelled before this request was answered."),
}


def line_of(batch: Batch, answer: Answer) -> str:
    response = {"status_code": answer.status, "request_id": answer.request_id, "body": answer.body}
    return _line(batch, answer.number, answer.custom_id, response=response)


def unanswered(batch: Batch) -> Iterator[InputLine]:
    """In the file's order; nothing of a file that has not been checked."""
    if not batch.total:
        return
    answered = set(batch.lines.values_list("number", flat=True))
    for number, raw in read_lines(files.path_of(batch.input_file_id)):
        if number not in answered:
            yield parse_line(number, raw, batch.endpoint)


def write(batch: Batch, lease: Lease) -> None:
    """The files of a batch that has no lines left or is over, and with them its last status."""
    batch = lease.move("in_progress", status="finalizing", finalizing_at=timezone.now())
    ending = "cancelled" if batch.status == "cancelling" else "expired"
    with _Lines(batch, "output") as output, _Lines(batch, "error") as errors:
        for failed, text in _keeping(lease, batch.lines.order_by("number").values_list("failed", "text")):
            (errors if failed else output).add(text)
        answered_errors = errors.count
        for line in _keeping(lease, unanswered(batch)):
            errors.add(_line(batch, line.number, line.custom_id, error=_REASONS[ending]))
    rest = errors.count - answered_errors
    if batch.status == "finalizing" and not rest:
        ending = "completed"
    with transaction.atomic():
        lease.end(
            status=ending,
            failed=batch.failed + rest,
            output_file_id=output.id,
            error_file_id=errors.id,
            **{f"{ending}_at": timezone.now()},
        )
        output.keep()
        errors.keep()


class _Lines:
    """A file of the batch while it is written: under a name of its own, for somebody who has lost the lease
    may not know it yet. What is kept has an id that follows from the batch's, the same after a crash."""

    def __init__(self, batch: Batch, kind: str) -> None:
        self.count = 0
        self._batch = batch
        self._kind = kind
        self._path = files.path_of(new_file_id())
        self._file = self._path.open("w", encoding="utf-8")

    @property
    def id(self) -> str:
        """Empty when there was nothing to write."""
        return f"{self._batch.id.replace('batch_', 'file-')}-{self._kind}" if self.count else ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, text: str) -> None:
        self._file.write(text + "\n")
        self.count += 1

    def keep(self) -> None:
        if not self.count:
            self._path.unlink()
            return
        self._path.replace(files.path_of(self.id))
        name = f"{self._batch.id}_{self._kind}.jsonl"
        files.add(self.id, self._batch.project_id, name, "batch_output")


def _line(
    batch: Batch,
    number: int,
    custom_id: str,
    *,
    response: dict[str, Any] | None = None,
    error: tuple[str, str] | None = None,
) -> str:
    told = {
        "id": f"batch_req_{batch.id.removeprefix('batch_')}_{number}",
        "custom_id": custom_id,
        "response": response,
        "error": error and {"code": error[0], "message": error[1]},
    }
    return json.dumps(told, ensure_ascii=False)


def _keeping(lease: Lease, things: Iterable[Thing]) -> Iterator[Thing]:
    """``things``, with a sign of life from time to time."""
    rows = things.iterator(ROWS) if isinstance(things, QuerySet) else things
    for count, thing in enumerate(rows):
        if count % RENEW_EVERY == 0:
            lease.renew()
        yield thing
