"""Processes of the tests that have the libraries already: importing torch and all others is more than half of
what a server's start costs, and there are dozens of starts.

Python's fork server imports them once, without a line of the project's settings, and every process is forked
from it. What runs then is the file that an operator runs, with the environment that it is given.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

# Not from tests.environment: a process that is forked imports this file, and has a DATA_DIR already.
REPOSITORY = Path(__file__).resolve().parent.parent

LIBRARIES = [
    "celery.worker",
    "django.core.management",
    "django.db.models",
    "psycopg",
    "redis.asyncio",
    "requests",
    "twisted.protocols.tls",
]

context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(["serving.engine.loader", *LIBRARIES])


class Forked:
    """``python FILE ARGUMENTS`` with exactly this ``environment``, its output added to ``log``. So are its
    complaints, where they have no file of their own."""

    def __init__(
        self, command: list[str], environment: Mapping[str, str], log: Path, complaints: Path | None = None
    ) -> None:
        arguments = (command, dict(environment), str(log), str(complaints or log))
        self._process = context.Process(target=_run, args=arguments, daemon=True)
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        """How it ended; None while it runs."""
        return self._process.exitcode

    def send_signal(self, sign: signal.Signals) -> None:
        os.kill(self.pid, sign)

    def wait(self, seconds: float) -> int:
        """How it ended. TimeoutError when it has not by then."""
        self._process.join(seconds)
        if self._process.exitcode is None:
            raise TimeoutError(f"Process {self.pid} goes on after {seconds} s")
        return self._process.exitcode


def run(
    command: list[str], environment: Mapping[str, str], seconds: float = 60
) -> subprocess.CompletedProcess[str]:
    """``python FILE ARGUMENTS``, to its end."""
    with tempfile.TemporaryDirectory() as folder:
        output, complaints = Path(folder) / "output", Path(folder) / "complaints"
        process = Forked(command, environment, output, complaints)
        try:
            code = process.wait(seconds)
        except TimeoutError:
            process.send_signal(signal.SIGKILL)
            raise
        return subprocess.CompletedProcess(command, code, output.read_text(), complaints.read_text())


def become(environment: Mapping[str, str]) -> None:
    """For a process that was forked: as if it had been started in the repository with this environment."""
    os.chdir(REPOSITORY)
    os.environ.clear()
    os.environ.update(environment)


def _run(command: list[str], environment: dict[str, str], log: str, complaints: str) -> None:
    for descriptor, name in ((1, log), (2, complaints)):
        with open(name, "ab") as file:
            os.dup2(file.fileno(), descriptor)
    become(environment)
    sys.argv = command
    runpy.run_path(command[0], run_name="__main__")
