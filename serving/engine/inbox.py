"""What other threads leave for the engine's: requests to take in, and requests to end."""

from __future__ import annotations

import threading

from serving.engine.core import EngineConfig, GenerationRequest, Sequence
from serving.engine.errors import EngineStopped, InvalidRequest, QueueFull
from serving.engine.pace import Pace

# One in so many waiting places is kept for owners who have nothing open.
KEPT_FOR_OTHERS = 8


class Inbox:
    """All methods may be called from any thread. A sequence is open from ``put`` to ``forget``."""

    def __init__(self, config: EngineConfig, pace: Pace) -> None:
        """``pace`` tells how long who is refused should wait."""
        self._config, self._pace = config, pace
        self._wake = threading.Condition()
        self._new: list[Sequence] = []
        self._aborts: set[str] = set()
        self._open: dict[str, Sequence] = {}
        self.closed: str | None = None  # why

    def __len__(self) -> int:
        """How many are open."""
        return len(self._open)

    def put(self, sequence: Sequence) -> None:
        """Raises InvalidRequest, QueueFull or EngineStopped."""
        name = sequence.request_id
        with self._wake:
            if self.closed is not None:
                raise EngineStopped(self.closed)
            if name in self._open:
                raise InvalidRequest(f"Request id {name!r} is already running.")
            if self._is_full_for(sequence.request):
                raise QueueFull(self._pace.retry_after())
            self._open[name] = sequence
            self._new.append(sequence)
            self._wake.notify()

    def abort(self, request_id: str) -> None:
        """Ignored for what is not open."""
        with self._wake:
            if request_id in self._open:
                self._aborts.add(request_id)
                self._wake.notify()

    def take(self) -> tuple[list[Sequence], list[Sequence]]:
        """What was put since the last time, and what is to be ended."""
        with self._wake:
            new, self._new = self._new, []
            aborts, self._aborts = self._aborts, set()
            return new, [self._open[name] for name in aborts if name in self._open]

    def forget(self, request_id: str) -> Sequence:
        """It has ended. KeyError if it is not open."""
        with self._wake:
            self._aborts.discard(request_id)
            return self._open.pop(request_id)

    def rest(self) -> list[Sequence]:
        """All that are open."""
        with self._wake:
            return list(self._open.values())

    def close(self, reason: str) -> None:
        """Let nothing more in. The first reason counts."""
        with self._wake:
            self.closed = self.closed or reason
            self._wake.notify()

    def wait(self) -> bool:
        """Block while nothing is open. False when it is closed."""
        with self._wake:
            self._wake.wait_for(lambda: self.closed is not None or self._open)
            return self.closed is None

    def _is_full_for(self, request: GenerationRequest) -> bool:
        """The last places are for owners who have nothing open, so that nobody can fill it against them. None
        of the waiting places are for what has time: that waits outside."""
        if request.priority < 0:
            return len(self._open) >= self._config.max_batch_size
        free = self._config.max_batch_size + self._config.max_waiting - len(self._open)
        if free > self._config.max_waiting // KEPT_FOR_OTHERS:
            return False
        return free <= 0 or any(sequence.request.owner == request.owner for sequence in self._open.values())
