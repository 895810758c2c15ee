from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from apikeys.usage.journal import Journal, Segment


def contents(segments: list[Segment]) -> list[bytes]:
    return [line for segment in segments for line in segment.lines()]


def run(code: str, folder: Path) -> None:
    """Runs ``code`` with a journal in another process, which ends without a goodbye."""
    setup = "import os, sys; from pathlib import Path; from apikeys.usage.journal import Journal\n"
    setup += "journal = Journal(Path(sys.argv[1]))\n"
    subprocess.run([sys.executable, "-c", setup + code + "\nos._exit(0)", str(folder)], check=True)


def test_lines_come_back_in_order(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for number in range(10):
        journal.append(b"line %d\n" % number)
    assert contents(journal.pending()) == [b"line %d" % number for number in range(10)]


def test_lines_that_come_while_a_segment_waits_are_handed_out_after_it(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append(b"early\n")
    [segment] = journal.pending()
    journal.append(b"late\n")
    assert contents(journal.pending()) == [b"early"]
    journal.delete(segment)
    assert contents(journal.pending()) == [b"late"]


def test_nothing_is_left_on_disk_once_all_is_deleted(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append(b"line\n")
    [segment] = journal.pending()
    journal.delete(segment)
    assert journal.pending() == []
    assert list(tmp_path.iterdir()) == []


def test_what_a_dead_process_left_is_adopted_once(tmp_path: Path) -> None:
    run(r"journal.append(b'one\n'); journal.append(b'two\n')", tmp_path)
    one, other = Journal(tmp_path), Journal(tmp_path)
    one.adopt()
    other.adopt()
    one.adopt()
    assert contents(one.pending()) == [b"one", b"two"]
    assert other.pending() == []


def test_what_a_living_process_writes_is_not_adopted(tmp_path: Path) -> None:
    living, other = Journal(tmp_path), Journal(tmp_path)
    living.append(b"mine\n")
    other.adopt()
    assert other.pending() == []
    living.pending()
    other.adopt()
    assert other.pending() == []


def test_threads_do_not_tear_each_others_lines(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    handed_out: list[bytes] = []

    def write(letter: bytes) -> None:
        for _ in range(300):
            journal.append(letter * 200 + b"\n")

    threads = [threading.Thread(target=write, args=(letter,)) for letter in (b"a", b"b", b"c", b"d")]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads) or (journal.pending()):
        for segment in journal.pending():
            handed_out += segment.lines()
            journal.delete(segment)
    assert sorted(handed_out) == sorted([letter * 200 for letter in (b"a", b"b", b"c", b"d")] * 300)


FILL_UP = r"""
import resource
journal.append(b"whole\n")
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (8, most))
for _ in range(2):
    try:
        journal.append(b"too long\n")
    except OSError:
        continue
    raise SystemExit("The line went in")
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
journal.append(b"whole again\n")
"""


def test_a_full_disk_leaves_no_half_line(tmp_path: Path) -> None:
    run(FILL_UP, tmp_path)
    journal = Journal(tmp_path)
    journal.adopt()
    assert contents(journal.pending()) == [b"whole", b"whole again"]


def test_sync_asks_the_disk_to_keep_every_segment_and_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    for name in ("fdatasync", "fsync"):
        monkeypatch.setattr(
            os, name, lambda descriptor: asked.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        )
    journal = Journal(tmp_path)
    journal.sync()
    assert asked == []
    journal.append(b"early\n")
    journal.pending()
    journal.append(b"late\n")
    journal.sync()
    assert sorted(asked) == sorted([str(tmp_path), *map(str, tmp_path.iterdir())])
