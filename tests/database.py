"""Reads a server's database past its code, as whoever checks its bills would."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row


def read(environment: Mapping[str, str], query: str, *values: object) -> list[dict[str, Any]]:
    """The rows of ``query``, in which ? stands for a value. ``environment``: that of the server."""
    if url := environment.get("DATABASE_URL"):
        with psycopg.connect(url, row_factory=dict_row) as postgresql:
            return postgresql.execute(query.replace("?", "%s"), values).fetchall()
    with sqlite3.connect(Path(environment["DATA_DIR"]) / "console.sqlite3", timeout=20) as database:
        database.row_factory = sqlite3.Row
        return [dict(row) for row in database.execute(query, values)]
