"""Has the lines of a batch answered by the site itself, over HTTP like any other request.

So a line goes the one path, with its limits, usage and errors, whether the worker is a thread of the server
or a process on another machine.
"""

from __future__ import annotations

import http.client
import json
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings

from apikeys.line_calls import LineCall
from serving.batches.jsonl import InputLine
from serving.batches.models import Batch
from serving.receipts import ASKED_AGAIN

CONNECT_WITHIN = 10.0  # seconds
DEAD_AFTER = 60  # seconds without an answer to TCP's own question
SHORTEST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds between two tries
TRIES = 3  # of a line that the model fails on
FINAL_CODES = {"insufficient_quota"}  # of a 429 that waiting does not help

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the site said to one line; ``body`` is JSON."""

    number: int
    custom_id: str
    request_id: str
    status: int
    body: Any

    @property
    def failed(self) -> bool:
        return self.status >= 400


class Sender:
    """Asks for the lines of one batch, from any number of threads, until ``stop``."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._stopped = threading.Event()
        self._connections: set[http.client.HTTPConnection] = set()

    def ask(self, line: InputLine) -> Answer | None:
        """The answer, as often as it takes to get one. None: there is no answer, for ``stop`` was called."""
        failures = 0
        for pause in _pauses():
            try:
                answer, wait = self._try(line)
            except (OSError, http.client.HTTPException, ValueError) as error:
                logger.info("%s line %d is asked again: %s", self._batch, line.number, error)
                answer, wait = None, pause
            failures += answer is not None and answer.status == 500
            if answer is not None and (not _is_worth_another_try(answer) or failures == TRIES):
                return answer
            if self._stopped.wait(max(pause, wait)):
                break
        return None

    def stop(self) -> None:
        """Nothing more is asked, and nobody waits for what is being answered: that ends on the other side."""
        self._stopped.set()
        for connection in list(self._connections):
            with suppress(OSError, AttributeError):  # it has just ended by itself
                connection.sock.shutdown(socket.SHUT_RDWR)

    def _try(self, line: InputLine) -> tuple[Answer, float]:
        """The site's answer to one try, and how many seconds it wants one to wait before the next. Raises
        OSError, HTTPException or ValueError when there is none."""
        request_id = request_id_of(self._batch, line.number)
        key = self._batch.key
        call = LineCall(key.prefix, key.hash, request_id, self._batch.endpoint, line.body)
        headers = {"Authorization": call.sign(), "Content-Type": "application/json"}
        with self._connection() as connection:
            connection.request("POST", self._batch.endpoint, line.body, headers)
            response = connection.getresponse()
            body = json.loads(response.read())
        answer = Answer(line.number, line.custom_id, request_id, response.status, body)
        return answer, _wanted_pause(response.getheader("retry-after-ms", "0"))

    @contextmanager
    def _connection(self) -> Iterator[http.client.HTTPConnection]:
        connection = _connect()
        self._connections.add(connection)
        try:
            if self._stopped.is_set():
                raise ConnectionAbortedError("stopped")
            yield connection
        finally:
            self._connections.discard(connection)
            connection.close()


def request_id_of(batch: Batch, number: int) -> str:
    """The same at every try: so however often a line is asked, it is recorded once."""
    return f"req-{batch.id.removeprefix('batch_')}-{number}"


def _connect() -> http.client.HTTPConnection:
    """To the site. An answer may take as long as it takes; a machine that is gone is noticed all the same."""
    address = urlsplit(settings.INTERNAL_URL)
    kind = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
    connection = kind(address.hostname or "", address.port, timeout=CONNECT_WITHIN)
    connection.connect()
    connection.sock.settimeout(None)
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, DEAD_AFTER)
    return connection


def _pauses() -> Iterator[float]:
    pause = SHORTEST_PAUSE
    while True:
        yield pause
        pause = min(pause * 2, LONGEST_PAUSE)


def _wanted_pause(milliseconds: str) -> float:
    return min(int(milliseconds) / 1000, LONGEST_PAUSE) if milliseconds.isdigit() else 0.0


def _is_worth_another_try(answer: Answer) -> bool:
    if answer.status not in ASKED_AGAIN and answer.status < 500:
        return False
    error = answer.body.get("error") if isinstance(answer.body, dict) else None
    return not (isinstance(error, dict) and error.get("code") in FINAL_CODES)
