"""Usage records, straight from a server's database."""

from __future__ import annotations

import time
from typing import Any

from tests.database import read
from tests.server import Server

WITHIN = 30.0  # seconds


def find_records(server: Server, request_id: str) -> list[dict[str, Any]]:
    return read(server.environment, "SELECT * FROM apikeys_usagerecord WHERE request_id = ?", request_id)


def wait_for_record(server: Server, request_id: str) -> dict[str, Any]:
    """The one record of a request; it may be written a moment after the answer."""
    deadline = time.monotonic() + WITHIN
    while not (found := find_records(server, request_id)):
        assert time.monotonic() < deadline, f"{request_id} left no record within {WITHIN} s"
        time.sleep(0.05)
    assert len(found) == 1
    return found[0]


def wait_for_newest_abort(server: Server, endpoint: str) -> dict[str, Any]:
    """For a plain answer that the client did not wait for: it never saw the request's id."""
    deadline = time.monotonic() + WITHIN
    query = (
        "SELECT * FROM apikeys_usagerecord WHERE status = 499 AND NOT stream AND endpoint = ?"
        " ORDER BY id DESC LIMIT 1"
    )
    while time.monotonic() < deadline:
        for row in read(server.environment, query, endpoint):
            return row
        time.sleep(0.05)
    raise AssertionError("no aborted request was recorded")
