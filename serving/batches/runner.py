"""One batch, from wherever it stands to wherever it gets, in a Celery worker.

``run`` checks the file, has the lines answered by the site, BATCH_CONCURRENCY at a time, and writes the
output files. All of it may be cut off at any moment: whoever runs the batch next goes on from what is in the
database.
"""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import Any

from django.conf import settings
from django.utils import timezone

from serving.batches import results
from serving.batches.checking import check_lines
from serving.batches.models import Batch
from serving.batches.queue import Lease, LeaseLost
from serving.batches.sender import Answer, Sender

LOOK_EVERY = 0.5  # seconds between two looks whether the batch is to stop

logger = logging.getLogger(__name__)
_stopping = threading.Event()


def run(batch_id: str, token: str) -> None:
    """Until the batch has ended, ``stop`` is called, or somebody else has the batch."""
    lease = Lease(batch_id, token)
    try:
        _run(lease)
    except LeaseLost:
        logger.warning("%s is run by somebody else", batch_id)
    except FileNotFoundError as error:
        lease.end(status="failed", failed_at=timezone.now(), errors=[_lost(error)])


def _run(lease: Lease) -> None:
    batch = lease.renew()
    if batch.status == "validating" and not batch.is_over:
        batch = check_lines(batch, lease)
    if batch.status == "in_progress":
        batch = _Lines(batch, lease).answer()
    if _stopping.is_set() and not batch.is_over:
        lease.give_back()
    elif batch.is_open:
        results.write(batch, lease)


def _lost(error: FileNotFoundError) -> dict[str, Any]:
    message = f"{error.filename} is gone. Do all workers have the server's DATA_DIR?"
    return {"code": "file_not_found", "message": message, "param": "input_file_id", "line": None}


def start() -> None:
    """Batches may run in this process (again)."""
    _stopping.clear()


def stop() -> None:
    """Every ``run`` in this process returns within a second; its batch can be gone on with at once."""
    _stopping.set()


def is_stopping() -> bool:
    return _stopping.is_set()


class _Lines:
    """The lines that have no answer yet, and those of them that are being asked."""

    def __init__(self, batch: Batch, lease: Lease) -> None:
        self._batch = batch
        self._lease = lease
        self._look_at = 0.0
        self._sender = Sender(batch)
        self._asked: set[Future[Answer | None]] = set()

    def answer(self) -> Batch:
        """The batch when no line is left, or when it is over."""
        unanswered = results.unanswered(self._batch)
        with ThreadPoolExecutor(settings.BATCH_CONCURRENCY, thread_name_prefix="batch-line") as pool:
            try:
                while self._goes_on():
                    room = settings.BATCH_CONCURRENCY - len(self._asked)
                    self._asked |= {pool.submit(self._sender.ask, line) for line in islice(unanswered, room)}
                    if not self._asked:
                        break
                    self._take_answers()
            finally:
                self._sender.stop()  # lets the pool end
        self._take_answers()
        return self._lease.renew()

    def _goes_on(self) -> bool:
        if time.monotonic() >= self._look_at:
            self._batch = self._lease.renew()
            self._look_at = time.monotonic() + LOOK_EVERY
        return not (self._batch.is_over or _stopping.is_set())

    def _take_answers(self) -> None:
        done, self._asked = wait(self._asked, LOOK_EVERY, FIRST_COMPLETED)
        for future in done:
            answer = future.result()
            if answer is not None:
                self._lease.keep_line(answer.number, results.line_of(self._batch, answer), answer.failed)
