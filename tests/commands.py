"""`manage.py` commands on one server's data, one after the other in one process: each start takes seconds."""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from multiprocessing.connection import Connection

from tests.forked import become, context


class Commands:
    """The process starts with the first command."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = {**environment, "DJANGO_SETTINGS_MODULE": "config.settings"}
        self._line: Connection | None = None

    def run(self, *arguments: str) -> str:
        """What the command prints. AssertionError with its complaints when it fails."""
        line = self._line = self._line or self._start()
        line.send(arguments)
        code, output, complaints = line.recv()
        assert code == 0, complaints
        return str(output)

    def close(self) -> None:
        if self._line is not None:
            self._line.close()
            self._process.join()
            self._line = None

    def __del__(self) -> None:
        self.close()

    def _start(self) -> Connection:
        ours, theirs = context.Pipe()
        self._process = context.Process(target=_answer_all, args=(theirs, self._environment), daemon=True)
        self._process.start()
        theirs.close()
        return ours


def _answer_all(line: Connection, environment: dict[str, str]) -> None:
    become(environment)
    while True:
        try:
            arguments = line.recv()
        except EOFError:
            return
        line.send(answer(arguments))


def answer(arguments: tuple[str, ...]) -> tuple[int, str, str]:
    """Exit status, output and complaints of a command."""
    from django.core.management import execute_from_command_line

    output, complaints = io.StringIO(), io.StringIO()
    code = 0
    with redirect_stdout(output), redirect_stderr(complaints):
        try:
            execute_from_command_line(["manage.py", *arguments])
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
        except Exception as error:
            code, _ = 1, complaints.write(repr(error))
    return code, output.getvalue(), complaints.getvalue()
