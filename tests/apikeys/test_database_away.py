"""While the database is away, keys that were seen keep working within their limits, and nothing is lost."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import requests

from tests.database import read
from tests.server import Server
from tests.services import PostgreSQL

pytestmark = [pytest.mark.services, pytest.mark.slow]
AWAY = 60.0  # seconds
BOOKED_WITHIN = 30.0
BODY = {"model": "open-autoglm-7b", "prompt": "Hi", "max_tokens": 3}


@pytest.fixture
def postgresql() -> Iterator[PostgreSQL]:
    """One of its own, for the others need theirs."""
    folder = Path(tempfile.mkdtemp(prefix="console-services-"))
    folder.chmod(0o755)  # PostgreSQL runs as somebody else
    database = PostgreSQL(folder)
    database.start()
    database.wait()
    with psycopg.connect(database.url.replace("/console", "/postgres"), autocommit=True) as connection:
        connection.execute("CREATE DATABASE console")
    yield database
    database.stop()
    shutil.rmtree(folder, ignore_errors=True)


def ask(server: Server, key: str) -> requests.Response:
    headers = {"Authorization": f"Bearer {key}"}
    return requests.post(f"{server.url}/v1/completions", json=BODY, headers=headers, timeout=30)


def test_known_keys_keep_working_and_what_they_use_is_booked_afterwards(postgresql: PostgreSQL) -> None:
    with Server(DATABASE_URL=postgresql.url) as server:
        free, limited, unseen = (server.create_key(f"{name}@example.com") for name in ("a", "b", "c"))
        server.change_key(limited, requests_per_minute=4)
        answers = [ask(server, free), ask(server, limited)]
        postgresql.stop()
        until = time.monotonic() + AWAY
        refused = [ask(server, limited) for _ in range(6)]
        assert [answer.status_code for answer in refused] == [200] * 3 + [429] * 3
        answer = ask(server, unseen)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "database_unavailable")
        while time.monotonic() < until:
            answers.append(ask(server, free))
            time.sleep(0.2)
        assert {answer.status_code for answer in answers} == {200}
        postgresql.start()
        postgresql.wait()
        asked = {answer.headers["x-request-id"] for answer in (*answers, *refused)}
        assert booked(server, asked) == asked
        assert ask(server, unseen).status_code == 200


def booked(server: Server, asked: set[str]) -> set[str]:
    """Those of ``asked`` of which there is a record, once all have one or long enough after."""
    deadline = time.monotonic() + BOOKED_WITHIN
    while True:
        rows = read(server.environment, "SELECT request_id FROM apikeys_usagerecord")
        found = asked & {row["request_id"] for row in rows}
        if found == asked or time.monotonic() > deadline:
            return found
        time.sleep(0.2)
