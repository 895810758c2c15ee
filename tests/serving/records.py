"""Reads usage records straight from a server's database, as whoever checks its bills would."""

from __future__ import annotations

import sqlite3
import time
from typing import Any

from tests.server import Server

WITHIN = 10.0  # seconds


def find_records(server: Server, request_id: str) -> list[dict[str, Any]]:
    with sqlite3.connect(server.data_dir / "console.sqlite3", timeout=20) as database:
        database.row_factory = sqlite3.Row
        rows = database.execute("SELECT * FROM apikeys_usagerecord WHERE request_id = ?", (request_id,))
        return [dict(row) for row in rows]


def wait_for_record(server: Server, request_id: str) -> dict[str, Any]:
    """The one record of a request; it may be written a moment after the answer."""
    deadline = time.monotonic() + WITHIN
    while not (found := find_records(server, request_id)):
        assert time.monotonic() < deadline, f"{request_id} left no record within {WITHIN} s"
        time.sleep(0.05)
    assert len(found) == 1
    return found[0]
