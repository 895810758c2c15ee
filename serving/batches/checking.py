"""Whether a batch can be run: what OpenAI calls validating."""

from __future__ import annotations

from typing import Any

from django.utils import timezone

from serving.batches.files import path_of
from serving.batches.jsonl import parse_line, read_lines
from serving.batches.models import Batch
from serving.batches.queue import Lease
from serving.errors import BadRequest

MAX_ERRORS = 100  # that a batch tells of
RENEW_EVERY = 1000  # lines


def check_lines(batch: Batch, lease: Lease) -> Batch:
    """The batch in progress, or failed with what is wrong with its lines; or cancelled in the meantime."""
    checker = _Checker(batch.endpoint)
    for number, raw in read_lines(path_of(batch.input_file_id)):
        if number % RENEW_EVERY == 0:
            lease.renew()
        checker.check(number, raw)
    now = timezone.now()
    if not checker.errors:
        return lease.move("validating", status="in_progress", in_progress_at=now, total=checker.total)
    lease.end(status="failed", failed_at=now, errors=checker.errors)
    batch.refresh_from_db()
    return batch


class _Checker:
    """``errors`` are as OpenAI tells them."""

    def __init__(self, endpoint: str) -> None:
        self.errors: list[dict[str, Any]] = []
        self.total = 0
        self._endpoint = endpoint
        self._custom_ids: set[str] = set()

    def check(self, number: int, raw: bytes) -> None:
        if len(self.errors) == MAX_ERRORS:
            return
        self.total += 1
        try:
            custom_id = parse_line(number, raw, self._endpoint).custom_id
            self._check_unique(custom_id)
        except BadRequest as error:
            told = {"code": error.code or "invalid_request", "message": error.message, "param": error.param}
            self.errors.append({**told, "line": number})

    def _check_unique(self, custom_id: str) -> None:
        if custom_id in self._custom_ids:
            raise BadRequest(
                f"The custom_id '{custom_id}' has come before.", param="custom_id", code="duplicate_custom_id"
            )
        self._custom_ids.add(custom_id)
