"""Lines that survive the death of the process: segment files in one folder, each owned by one process.

A process appends to a segment that it holds locked (``flock``). The lock ends with the process, however it
ends; whoever can lock a segment may therefore read and delete it: nobody writes to it any more.
"""

from __future__ import annotations

import fcntl
import os
import threading
import uuid
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Segment:
    """A file of lines that this process holds locked."""

    path: Path
    descriptor: int

    def append(self, line: bytes) -> None:
        """Raises ``OSError``, with nothing written, when the disk is full."""
        size = os.fstat(self.descriptor).st_size
        try:
            if os.write(self.descriptor, line) < len(line):
                raise OSError("No space left for a whole line")
        except OSError:
            os.ftruncate(self.descriptor, size)
            raise

    def lines(self) -> list[bytes]:
        return self.path.read_bytes().splitlines()

    def delete(self) -> None:
        self.path.unlink(missing_ok=True)
        os.close(self.descriptor)


class Journal:
    """Takes lines from any thread, and hands them out in segments, to be deleted once they are safe."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._active: Segment | None = None
        self._sealed: list[Segment] = []
        self._lock = threading.Lock()

    def append(self, line: bytes) -> None:
        """Keeps ``line`` (which ends in a newline) through the death of this process from here on.

        Raises ``OSError``.
        """
        with self._lock:
            if self._active is None:
                self._active = self._create()
            self._active.append(line)

    def pending(self) -> list[Segment]:
        """The segments of this process, oldest first; lines that come later go to a new one."""
        with self._lock:
            # While the last segments could not be emptied, the active one grows instead of their number.
            if self._active is not None and not self._sealed:
                self._sealed, self._active = [self._active], None
            return list(self._sealed)

    def sync(self) -> None:
        """Returns when what was appended before would survive a power cut too. Others append meanwhile."""
        with self._lock:
            segments = [*self._sealed, *filter(None, [self._active])]
        for segment in segments:
            os.fdatasync(segment.descriptor)
        if segments:
            _sync_folder(self._folder)

    def adopt(self) -> None:
        """Makes the segments that dead processes have left behind this one's own."""
        for path in sorted(self._folder.glob("usage-*.jsonl")):
            descriptor = self._try_lock(path)
            if descriptor is not None:
                with self._lock:
                    self._sealed.append(Segment(path, descriptor))

    def delete(self, segment: Segment) -> None:
        with self._lock:
            self._sealed.remove(segment)
        segment.delete()

    def refuse(self, line: bytes) -> None:
        """Puts aside a line that nobody can use, for a person to look at."""
        with (self._folder / "refused.jsonl").open("ab") as file:
            file.write(line.rstrip(b"\n") + b"\n")

    def _create(self) -> Segment:
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"usage-{uuid.uuid4().hex}.jsonl"
        unnamed = path.with_suffix(".new")
        descriptor = os.open(unnamed, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
        # Locked before it has a name that others look for: else one could adopt it in between.
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        unnamed.rename(path)
        return Segment(path, descriptor)

    def _try_lock(self, path: Path) -> int | None:
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:  # its process has just finished with it
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # a living process (this one included) writes to it
            os.close(descriptor)
            return None
        return descriptor


def _sync_folder(folder: Path) -> None:
    """The names of its files; their contents are their own."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
