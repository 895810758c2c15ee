"""Usage through the death of the process that recorded it, ``kill -9`` at any moment."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import forked
from tests.apikeys.usage.killing import THREADS
from tests.database import read
from tests.environment import REPOSITORY
from tests.migrated import give_tables
from tests.services import share

pytestmark = pytest.mark.slow

SETUP = """
import os, signal, sys, django
django.setup()
from apikeys.usage import recording
from apikeys.usage.journal import Journal
from tests.apikeys.conftest import make_event
"""

RECORD_FOR_EVER = """
import itertools
recording.start()
for number in itertools.count():
    recording.record(make_event(request_id=f"{os.getpid()}-{number}"))
    print(f"{os.getpid()}-{number}", flush=True)
"""

# In the database, but still in the journal.
DIE_BEFORE_DELETING = """
Journal.delete = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
for number in range(100):
    recording.record(make_event(request_id=f"kept-{number}"))
recording.flush()
"""

ROUNDS = 18  # tests/test_billing.py kills a whole server two more times

RECOVER = """
recording.start()
recording.stop()
"""


class Site:
    """A DATA_DIR of its own, in which processes live and die."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.environment = {
            **os.environ,
            **share(data_dir),
            "DATA_DIR": str(data_dir),
            "DJANGO_SETTINGS_MODULE": "config.settings",
        }
        give_tables(self.environment)

    def python(self, code: str) -> int:
        program = self.data_dir / "program.py"
        program.write_text(SETUP + code)
        return forked.run([str(program)], self.environment).returncode

    def popen(self, code: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", SETUP + code]
        return subprocess.Popen(
            command, cwd=REPOSITORY, env=self.environment, stdout=subprocess.PIPE, text=True
        )

    def request_ids(self) -> list[str]:
        rows = read(self.environment, "SELECT request_id FROM apikeys_usagerecord")
        return [row["request_id"] for row in rows]

    def tokens(self) -> dict[str, tuple[int, int]]:
        """In and out, by request."""
        rows = read(self.environment, "SELECT * FROM apikeys_usagerecord")
        return {row["request_id"]: (row["prompt_tokens"], row["completion_tokens"]) for row in rows}

    def journal(self) -> list[Path]:
        return list((self.data_dir / "journal").glob("*.jsonl"))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_a_death_between_the_database_and_the_journal_counts_nothing_twice(site: Site) -> None:
    assert site.python(DIE_BEFORE_DELETING) == -signal.SIGKILL
    assert len(site.request_ids()) == 100
    assert len(site.journal()) == 1
    assert site.python(RECOVER) == 0
    assert sorted(site.request_ids()) == sorted(f"kept-{number}" for number in range(100))
    assert site.journal() == []


def test_two_processes_killed_at_any_moment_lose_and_double_nothing(site: Site) -> None:
    processes = [site.popen(RECORD_FOR_EVER) for _ in range(2)]
    answered: list[str] = []
    for process, moment in zip(processes, (137, 1361), strict=True):
        assert process.stdout is not None
        answered += [process.stdout.readline().strip() for _ in range(moment)]
    for process in processes:
        process.kill()
        assert process.stdout is not None
        answered += [line.strip() for line in process.stdout if line.endswith("\n")]
        process.wait()
        process.stdout.close()
    assert site.python(RECOVER) == 0
    kept = site.request_ids()
    assert len(kept) == len(set(kept))
    assert set(answered) <= set(kept)
    # Each process may have died between the record and its answer.
    assert len(kept) <= len(answered) + len(processes)
    assert site.journal() == []


def test_rounds_of_load_killed_at_random_moments_lose_and_double_nothing(site: Site) -> None:
    seed = random.randrange(2**32)
    command = ["tests/apikeys/usage/killing.py", str(ROUNDS), str(seed)]
    run = forked.run(command, site.environment, seconds=120)
    run.check_returncode()
    answered = [line.split() for line in run.stdout.splitlines()]
    assert {line[0].partition("-")[0] for line in answered} == {str(number) for number in range(ROUNDS)}
    assert site.python(RECOVER) == 0
    kept = site.tokens()
    assert {line[0]: tuple(map(int, line[1:])) for line in answered}.items() <= kept.items(), f"seed {seed}"
    # Each thread may have died between the record and its answer.
    assert len(kept) <= len(answered) + ROUNDS * THREADS, f"seed {seed}"
    assert site.journal() == []
