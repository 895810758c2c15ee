"""A real server for the tests: `manage.py serve` in a process, on a free port, with its own data."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import requests

from tests.commands import Commands
from tests.environment import REPOSITORY, make_data_dir
from tests.forked import Forked
from tests.migrated import give_tables
from tests.services import free_port, share

START_TIMEOUT = 240.0  # seconds; the first start on a machine converts the model
STOP_TIMEOUT = 20.0


class Server:
    """Starts on entering, stops on leaving. ``environment`` adds to what the process is given. One that is
    given a DATA_DIR finds there what is there; every other has a database of its own, with tables."""

    def __init__(self, **environment: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.ws_url = f"ws://127.0.0.1:{self.port}"
        self.data_dir = Path(environment.get("DATA_DIR") or make_data_dir())
        self.log = self.data_dir / "server.log"
        self.environment = {
            **os.environ,
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            **share(self.data_dir),
            **environment,
            "DATA_DIR": str(self.data_dir),
        }
        if not {"DATA_DIR", "DATABASE_URL"} & environment.keys():
            give_tables(self.environment)
        self.process: Forked | None = None
        self._worker: subprocess.Popen[bytes] | None = None
        self._commands = Commands(self.environment)

    def __enter__(self) -> Self:
        self.start()
        self.wait_ready()
        if self.environment.get("BROKER_URL"):
            self._start_worker()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._commands.close()
        if self._worker is not None:
            self._worker.terminate()
            self._worker.wait(STOP_TIMEOUT)

    def start(self) -> None:
        self.process = Forked(["manage.py", "serve"], self.environment, self.log)

    def _start_worker(self) -> None:
        """Celery's worker and beat, as an operator who has a broker runs them."""
        schedule = str(self.data_dir / "celerybeat-schedule")
        options = ["--beat", "--schedule", schedule, "--pool", "solo", "--loglevel", "WARNING"]
        with self.log.open("ab") as log:
            self._worker = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "config", "worker", *options],
                cwd=REPOSITORY,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def wait_ready(self, path: str = "/readyz") -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            assert self.process is not None
            if self.process.poll() is not None:
                break
            try:
                if requests.get(self.url + path, timeout=5).status_code == 200:
                    return
            except requests.RequestException:
                pass
            time.sleep(0.2)
        raise RuntimeError(f"The server did not get ready:\n{self.log.read_text()[-4000:]}")

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(sign)
        try:
            self.process.wait(STOP_TIMEOUT)
        except TimeoutError:
            self.process.send_signal(signal.SIGKILL)
            raise

    def manage(self, *arguments: str) -> str:
        """What `manage.py` prints on this server's data."""
        return self._commands.run(*arguments)

    def shell(self, code: str) -> str:
        return self.manage("shell", "--no-imports", "-v", "0", "-c", code).strip()

    def create_key(self, email: str, name: str = "tests") -> str:
        output = self.manage("createkey", "--email", email, "--name", name, "--create-user")
        return output.strip().splitlines()[-1]

    def change_key(self, key: str, **columns: object) -> None:
        """As its page would."""
        name = key[:12]
        self.shell(
            f"from apikeys.models import ApiKey; ApiKey.objects.filter(prefix={name!r}).update(**{columns!r})"
        )

    def create_user(self, email: str, password: str) -> None:
        self.shell(f"from console.models import User; User.objects.create_user({email!r}, {password!r})")

    def create_session(self, email: str) -> str:
        """Of somebody new, whose password is that of ``tests.people``. What the browser's cookie says."""
        return self.shell(
            "from django.test import Client\n"
            "from tests.people import add_person\n"
            "client = Client()\n"
            f"client.force_login(add_person({email!r}))\n"
            "print(client.cookies['sessionid'].value)"
        )
