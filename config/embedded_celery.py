"""Celery inside the server process, for a site that has no broker: a worker and a beat, one thread each.

The worker is Celery's bare ``WorkController``: the ``Worker`` of its command line would also take over the
process's signals, logging and standard output.
"""

from __future__ import annotations

import logging
import os
import threading

from celery.beat import Service
from celery.worker import WorkController
from django.conf import settings

from config.celery import app
from serving.batches.queue import AT_ONCE

IN_MEMORY_SCHEDULER = "celery.beat:Scheduler"  # the default one keeps a file in the working directory
STOP_WITHIN = 5.0  # seconds


class EmbeddedCelery:
    """A worker and a beat on the in-memory broker of this process."""

    def __init__(self) -> None:
        # Every task each minute, started and succeeded: news to the log of a worker, not of a web server.
        logging.getLogger("celery").setLevel(logging.WARNING)
        logging.getLogger("kombu.connection").setLevel(logging.ERROR)  # it misses a host name in memory://
        # The server that this runs in has passed Django's checks.
        os.environ["CELERY_SKIP_CHECKS"] = "1"
        self._worker = WorkController(
            app=app,
            pool="threads",
            concurrency=1 + AT_ONCE,  # so that batches leave a thread to the rest
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
        )
        # The beat sleeps for at most this long, so that it can stop.
        self._beat = Service(app, max_interval=1.0, scheduler_cls=IN_MEMORY_SCHEDULER)
        self._threads = [
            threading.Thread(target=self._worker.start, name="celery-worker", daemon=True),
            threading.Thread(target=self._beat.start, name="celery-beat", daemon=True),
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Lets the running task end; what was not begun comes again with the next start."""
        self._beat.stop()
        self._worker.stop()
        for thread in self._threads:
            thread.join(STOP_WITHIN)


_celery: EmbeddedCelery | None = None


def start() -> None:
    """Starts the embedded worker and beat, unless BROKER_URL names a broker with workers of its own."""
    global _celery
    if settings.CELERY_BROKER_URL == "memory://" and _celery is None:
        _celery = EmbeddedCelery()
        _celery.start()


def stop() -> None:
    global _celery
    if _celery is not None:
        _celery.stop()
        _celery = None
