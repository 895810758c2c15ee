"""One connection to Redis, on a thread of its own. What is asked while a round trip is under way goes out
together with the next one, in the order in which it was asked; so it serves every thread and event loop, and
is never waited for where nobody wants an answer.

Nothing is asked twice: what a broken connection leaves open has failed. While Redis is away everything fails
at once.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime
from queue import Empty, SimpleQueue
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from apikeys.outages import Outage

PATIENCE = 1.0  # seconds that an answer may take
PULSE_EVERY = 5.0  # seconds
TRY_EVERY = 0.5  # seconds between two tries to reach Redis
AT_ONCE = 256  # commands in one round trip

Command = Sequence[str | int]

logger = logging.getLogger(__name__)


class Away(Exception):
    """Redis does not answer, or not as it should."""


@dataclass(frozen=True, slots=True)
class _Call:
    command: Command
    answer: Future[Any] = field(default_factory=Future)


class Line:
    """``greetings`` are sent whenever a connection is made. After them, and every PULSE_EVERY seconds, goes
    what ``pulse`` makes; ``heard`` gets the answer to it, and ``recovered`` is called when an outage is over.
    Starts with the first thing that is asked."""

    def __init__(
        self,
        url: str,
        greetings: Sequence[Command],
        pulse: Callable[[], Command],
        heard: Callable[[Any], None],
        recovered: Callable[[], None],
    ) -> None:
        self._redis = Redis.from_url(
            url, socket_connect_timeout=PATIENCE, socket_timeout=PATIENCE, retry=Retry(NoBackoff(), 0)
        )
        self._greetings = greetings
        self._pulse, self._heard, self._recovered = pulse, heard, recovered
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._outage = Outage(
            logger,
            "Redis does not answer; each server gives out its share of the limits",
            "Redis answers again, and limits are shared again,",
        )
        self._connected = False
        self._next_pulse = 0.0
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    @property
    def away_since(self) -> datetime | None:
        return self._outage.since

    def ask(self, *command: str | int) -> Future[Any]:
        """From any thread. The answer, or Away."""
        call = _Call(command)
        if self._outage.since is not None:
            call.answer.set_exception(Away())
            return call.answer
        self.start()
        self._calls.put(call)
        return call.answer

    def start(self) -> None:
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="limits-redis", daemon=True)
                    self._thread.start()

    def stop(self) -> None:
        """Once everything that was asked has been sent."""
        with self._lock:
            if self._thread is not None:
                self._calls.put(None)
                self._thread.join()
                self._thread = None

    def _run(self) -> None:
        going_on = True
        while going_on:
            calls = self._next_calls()
            going_on = None not in calls
            try:
                if not self._connected:
                    self._connect()
                if time.monotonic() >= self._next_pulse:
                    self._beat()
                self._send([call for call in calls if call is not None])
            except Exception as error:  # whatever it is, nobody may wait for ever
                self._lose(error, calls)
        self._redis.close()
        self._connected = False

    def _next_calls(self) -> list[_Call | None]:
        """All that have come; none when there is something else to do."""
        wait = TRY_EVERY if self._outage.since is not None else self._next_pulse - time.monotonic()
        calls: list[_Call | None] = []
        try:
            calls.append(self._calls.get(timeout=max(0.0, wait)))
            while calls[-1] is not None and len(calls) < AT_ONCE:
                calls.append(self._calls.get_nowait())
        except Empty:
            pass
        return calls

    def _connect(self) -> None:
        self._ask_now(self._greetings)
        self._beat()
        self._connected = True
        if self._outage.since is not None:
            self._recovered()
            self._outage.over()

    def _beat(self) -> None:
        self._next_pulse = time.monotonic() + PULSE_EVERY
        [servers] = self._ask_now([self._pulse()])
        self._heard(servers)

    def _send(self, calls: Sequence[_Call]) -> None:
        if not calls:
            return
        answers = self._ask_now([call.command for call in calls])
        for call, answer in zip(calls, answers, strict=True):
            call.answer.set_result(answer)

    def _ask_now(self, commands: Sequence[Command]) -> list[Any]:
        """Raises RedisError, also for an answer that is an error: it may have lost its scripts, or must not
        be written to."""
        pipeline: Any = self._redis.pipeline(transaction=False)
        with pipeline:
            for command in commands:
                pipeline.execute_command(*command)
            answers: list[Any] = pipeline.execute()
            return answers

    def _lose(self, error: Exception, calls: Sequence[_Call | None]) -> None:
        self._connected = False
        self._outage.noticed(error)
        self._redis.close()
        waiting = list(calls)
        while not self._calls.empty():
            waiting.append(self._calls.get())
        if None in waiting[len(calls) :]:
            self._calls.put(None)
        for call in waiting:
            if call is not None and not call.answer.done():
                call.answer.set_exception(Away())
