"""A database that has its tables already. Migrating an empty one takes seconds, copying that one none."""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import psycopg

from tests.environment import REPOSITORY

NAME = "console.sqlite3"
POSTGRESQL = "migrated"


def _folder() -> Path:
    """One for all processes of the tests: the first to come makes it, the others inherit its name."""
    if "TESTS_MIGRATED" not in os.environ:
        os.environ["TESTS_MIGRATED"] = tempfile.mkdtemp(prefix="console-migrated-")
        atexit.register(shutil.rmtree, os.environ["TESTS_MIGRATED"], ignore_errors=True)
    return Path(os.environ["TESTS_MIGRATED"])


FOLDER = _folder()


def give_tables(environment: Mapping[str, str]) -> None:
    """To the empty database of a server with this ``environment``."""
    url = environment.get("DATABASE_URL")
    _migrate(environment)
    if url is None:
        shutil.copy(FOLDER / NAME, environment["DATA_DIR"])
        return
    server, _, database = url.rpartition("/")
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {database}")
        connection.execute(f"CREATE DATABASE {database} TEMPLATE {POSTGRESQL}")


def _migrate(environment: Mapping[str, str]) -> None:
    """Makes the one to copy, once."""
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (FOLDER / "done").exists():
            return
        own = {**environment, "DATA_DIR": str(FOLDER)}
        if url := environment.get("DATABASE_URL"):
            server = url.rpartition("/")[0]
            own["DATABASE_URL"] = f"{server}/{POSTGRESQL}"
            with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE {POSTGRESQL}")
        command = [sys.executable, "manage.py", "migrate", "--skip-checks", "-v", "0"]
        subprocess.run(command, cwd=REPOSITORY, env=own, check=True)
        (FOLDER / "done").touch()
