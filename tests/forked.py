"""Processes of the tests that have the heaviest libraries already: importing torch and transformers is half
of what a server's start costs, and there are dozens of starts.

Python's fork server imports them once, without Django or a line of the project's settings, and every process
is forked from it. What runs then is the file that an operator runs, with the environment that it is given.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

# Not from tests.environment: a process that is forked imports this file, and has a DATA_DIR already.
REPOSITORY = Path(__file__).resolve().parent.parent

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["serving.engine.loader"])


class Forked:
    """``python FILE ARGUMENTS`` with exactly this ``environment``, its output added to ``log``."""

    def __init__(self, command: list[str], environment: Mapping[str, str], log: Path) -> None:
        arguments = (command, dict(environment), str(log))
        self._process = _context.Process(target=_run, args=arguments, daemon=True)
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


def _run(command: list[str], environment: dict[str, str], log: str) -> None:
    with open(log, "ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(REPOSITORY)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = command
    runpy.run_path(command[0], run_name="__main__")
