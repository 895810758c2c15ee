"""``manage.py serve``: the whole site in this process, on HOST and PORT. What ``make run`` runs."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import sys
import threading
import time
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import DatabaseError
from django.utils.module_loading import import_string

from serving import runtime
from serving.engine.errors import ModelsFileError
from serving.engine.models_file import read_models_file

NEEDED_BYTES = 100 * 2**20  # of free disk: the database, its journal, static files
POLL_SECONDS = 0.2


class Command(BaseCommand):
    help = "Serve the site."

    def handle(self, **options: Any) -> None:
        self._check_models_file()
        self._check_disk(settings.DATA_DIR)
        self._check_port(settings.HOST, settings.PORT)
        self._prepare()
        site = import_string(settings.ASGI_APPLICATION)
        site.start()
        threading.Thread(target=self._tell_progress, name="progress", daemon=True).start()
        server = import_module(f"serving.{settings.SERVER}")
        server.serve(site, settings.HOST, settings.PORT, before_stop=site.stop)
        self._tell("Stopped.")
        os._exit(0)  # all is written by now, and Python would take seconds to take torch apart

    def _check_models_file(self) -> None:
        try:
            read_models_file(settings.MODELS_FILE)
        except ModelsFileError as error:
            self._give_up(str(error))

    def _check_disk(self, folder: Path) -> None:
        free = shutil.disk_usage(folder).free
        if free < NEEDED_BYTES:
            self._give_up(
                f"Only {free // 2**20} MiB are free in {folder}, and {NEEDED_BYTES // 2**20} are needed. "
                "Make room, or name another folder: DATA_DIR=... make run"
            )

    def _check_port(self, host: str, port: int) -> None:
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
        except socket.gaierror:
            self._give_up(f"HOST={host} is no address of this machine. Try HOST=0.0.0.0 make run")
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                self._give_up(f"Port {port} is taken. Choose another: PORT={port + 1} make run")
            self._give_up(f"The site cannot listen on {host}:{port}: {error.strerror}. Set HOST and PORT.")

    def _prepare(self) -> None:
        try:
            call_command("migrate", verbosity=0, interactive=False)
            call_command("collectstatic", verbosity=0, interactive=False)
        except (DatabaseError, OSError) as error:
            self._give_up(f"{settings.DATA_DIR} cannot be prepared: {error}.")

    def _tell_progress(self) -> None:
        told: dict[str, tuple[str, int]] = {}
        while loading := [status for status in runtime.status() if status.state == "loading"]:
            for status in loading:
                tenths = (status.activity, int(status.progress * 10))
                if status.progress and told.get(status.name) != tenths:
                    told[status.name] = tenths
                    self._tell(f"{status.activity} ({status.progress:.0%})")
            time.sleep(POLL_SECONDS)
        for status in runtime.status():
            if status.state == "failed":
                self._tell(f"{status.name} could not be loaded: {status.reason} The site runs without it.")
        self._tell(f"Ready: {settings.SITE_URL} (Ctrl+C stops it)")

    def _tell(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()

    def _give_up(self, reason: str) -> NoReturn:
        self.stderr.write(reason)
        sys.exit(2)
