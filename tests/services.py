"""Real PostgreSQL, Redis and RabbitMQ for the tests: on free ports, in a temporary folder, gone afterwards.

``python -m tests.services COMMAND ...`` runs a command with DATABASE_URL, REDIS_URL and BROKER_URL set.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

START_TIMEOUT = 60.0  # seconds
STOP_TIMEOUT = 20.0
PORTS = 20_000, 30_000
SHARES = 64  # how many processes can have a Redis database and a RabbitMQ host of their own


class Daemon:
    """A process that listens on ``port``. Its output goes to a file in its folder. ``user``: who it runs
    as where this is root, for a program that does not want to be."""

    user: str | None = None

    def __init__(self, name: str, folder: Path) -> None:
        self.port = free_port()
        self.folder = folder / name
        self.folder.mkdir()
        self.process: subprocess.Popen[bytes] | None = None
        if os.getuid() != 0:
            self.user = None
        if self.user:
            shutil.chown(self.folder, self.user)

    def run(self, *command: str, **environment: str) -> None:
        with (self.folder / "output.log").open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=self.folder,
                env={**os.environ, **environment},
                user=self.user,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl+C is for the tests; these are stopped after them
            )

    def wait(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while not self.listens():
            if time.monotonic() > deadline or (self.process is not None and self.process.poll() is not None):
                said = (self.folder / "output.log").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{type(self).__name__} does not listen:\n{said}")
            time.sleep(0.05)

    def listens(self) -> bool:
        if self.process is None or self.process.poll() is not None:
            return False
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(sign)
        try:
            self.process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class PostgreSQL(Daemon):
    user = "postgres"

    def __init__(self, folder: Path) -> None:
        super().__init__("postgresql", folder)
        data, options = (
            str(self.folder / "data"),
            ("-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"),
        )
        initdb = [find("initdb"), "-D", data, *options]
        subprocess.run(initdb, cwd=self.folder, user=self.user, check=True, stdout=subprocess.DEVNULL)

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/console"

    def start(self) -> None:
        # What a crash would lose does not matter here, and the tests are faster without.
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": 300,
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
        }
        options = [text for name, value in settings.items() for text in ("-c", f"{name}={value}")]
        self.run(find("postgres"), "-D", str(self.folder / "data"), *options)

    def listens(self) -> bool:
        """It listens before it answers."""
        asked = [find("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return super().listens() and subprocess.run(asked, check=False).returncode == 0

    def stop(self, sign: signal.Signals = signal.SIGINT) -> None:
        """SIGINT: its fast shutdown, which does not wait for clients."""
        super().stop(sign)


class Redis(Daemon):
    def __init__(self, folder: Path) -> None:
        super().__init__("redis", folder)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        self.run(
            find("redis-server"),
            *("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)),
            *("--save", "", "--appendonly", "no", "--databases", str(SHARES)),
        )


class RabbitMQ(Daemon):
    """With a node name, ports and an Erlang port mapper of its own, so that it meets no other."""

    def __init__(self, folder: Path) -> None:
        super().__init__("rabbitmq", folder)
        self._epmd = Daemon("epmd", folder)
        hosts = ["/", *(f"share-{number}" for number in range(1, SHARES))]
        permissions = {"user": "guest", "configure": ".*", "write": ".*", "read": ".*"}
        definitions = {
            "users": [{"name": "guest", "password": "guest", "tags": "administrator"}],
            "vhosts": [{"name": host} for host in hosts],
            "permissions": [{**permissions, "vhost": host} for host in hosts],
        }
        (self.folder / "definitions.json").write_text(json.dumps(definitions))
        (self.folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\nload_definitions = {self.folder}/definitions.json\n"
        )
        (self.folder / "plugins").write_text("[].\n")

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def start(self) -> None:
        self._epmd.run(find("epmd"), "-port", str(self._epmd.port), "-address", "127.0.0.1")
        self._epmd.wait()
        self.run(
            str(next(Path("/usr/lib/rabbitmq").glob("**/bin/rabbitmq-server"))),
            ERL_EPMD_PORT=str(self._epmd.port),
            HOME=str(self.folder),
            RABBITMQ_NODENAME=f"tests-{self.port}@localhost",
            RABBITMQ_DIST_PORT=str(free_port()),
            RABBITMQ_MNESIA_BASE=str(self.folder / "mnesia"),
            RABBITMQ_LOG_BASE=str(self.folder / "log"),
            RABBITMQ_CONFIG_FILE=str(self.folder / "rabbitmq.conf"),
            RABBITMQ_ENABLED_PLUGINS_FILE=str(self.folder / "plugins"),
            RABBITMQ_PID_FILE=str(self.folder / "pid"),
            RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="+sbwt none +S 1:1",  # waits without burning a processor
        )

    def listens(self) -> bool:
        """It listens before it has made its hosts. Its output says when it has; its log may not, which
        leaves lines out when there are many in a second."""
        return super().listens() and " completed with " in (self.folder / "output.log").read_text()

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> None:
        super().stop(sign)
        self._epmd.stop()


class Services:
    """All three, started on entering and stopped on leaving."""

    def __enter__(self) -> Self:
        self._stack = ExitStack()
        folder = Path(tempfile.mkdtemp(prefix="console-services-"))
        self._stack.callback(shutil.rmtree, folder, ignore_errors=True)
        folder.chmod(0o755)  # PostgreSQL runs as somebody else
        with ExitStack() as starting:
            starting.push(self._stack)
            self.rabbitmq, self.redis, self.postgresql = RabbitMQ(folder), Redis(folder), PostgreSQL(folder)
            daemons = (self.rabbitmq, self.redis, self.postgresql)
            for daemon in daemons:
                self._stack.callback(daemon.stop)
                daemon.start()
            for daemon in daemons:
                daemon.wait()
            starting.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def environment(self) -> dict[str, str]:
        return {
            "DATABASE_URL": self.postgresql.url,
            "REDIS_URL": self.redis.url,
            "BROKER_URL": self.rabbitmq.url,
        }


_numbers: dict[Path, int] = {}


def share(data_dir: Path) -> dict[str, str]:
    """A database, a Redis database and a RabbitMQ host for the process that has this folder, where there
    are services; nothing where there are none."""
    if not os.environ.get("DATABASE_URL"):
        return {}
    database, redis, broker = (
        os.environ[name].rpartition("/")[0].rstrip("/")
        for name in ("DATABASE_URL", "REDIS_URL", "BROKER_URL")
    )
    if data_dir not in _numbers:
        _numbers[data_dir] = _claim_number(database)
    number = _numbers[data_dir]
    return {
        "DATABASE_URL": f"{database}/share_{number}",
        "REDIS_URL": f"{redis}/{number}",
        "BROKER_URL": f"{broker}/share-{number}",
    }


def _claim_number(server: str) -> int:
    """The first that nobody has, in any process of the tests: its database is there once somebody has it."""
    import psycopg  # the services themselves start without it

    taken = psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        for number in range(1, SHARES):
            with suppress(*taken):
                connection.execute(f"CREATE DATABASE share_{number}")
                return number
    raise RuntimeError(f"More than {SHARES - 1} servers share these services: raise SHARES.")


def free_port() -> int:
    """Below those that the system gives to whoever connects somewhere: it stays free until it is used."""
    while True:
        port = random.randrange(*PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def find(program: str) -> str:
    """Debian keeps PostgreSQL's own programs off the path."""
    for folder in ["", *sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True)]:
        if found := shutil.which(program, path=folder or None):
            return found
    raise SystemExit(f"{program} is not installed. make test-services installs it.")


def main() -> int:
    with Services() as services:
        return subprocess.run(
            sys.argv[1:], env={**os.environ, **services.environment}, check=False
        ).returncode


if __name__ == "__main__":
    sys.exit(main())
