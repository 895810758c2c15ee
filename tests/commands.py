"""`manage.py` commands on one server's data, one after the other in one process: each start takes seconds."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

# Not from tests.environment: that gives whoever imports it a DATA_DIR of its own, here the server's is meant.
REPOSITORY = Path(__file__).resolve().parent.parent


class Commands:
    """The process starts with the first command."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._process: subprocess.Popen[str] | None = None

    def run(self, *arguments: str) -> str:
        """What the command prints. AssertionError with its complaints when it fails."""
        process = self._process = self._process or self._start()
        assert process.stdin
        assert process.stdout
        process.stdin.write(json.dumps(arguments) + "\n")
        process.stdin.flush()
        code, output, complaints = json.loads(process.stdout.readline())
        assert code == 0, complaints
        return str(output)

    def close(self) -> None:
        if self._process is not None:
            self._process.communicate()
            self._process = None

    def __del__(self) -> None:
        self.close()

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", __name__],
            cwd=REPOSITORY,
            env={**self._environment, "DJANGO_SETTINGS_MODULE": "config.settings"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )


def answer(arguments: list[str]) -> tuple[int, str, str]:
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


if __name__ == "__main__":
    answers = sys.stdout
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), file=answers, flush=True)
