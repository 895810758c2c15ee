"""Loaded before Django's settings (`-p tests.environment`): gives the tests a DATA_DIR of their own.

Only what is slow to make and then only read is shared with `make run`: converted models, compiled kernels.
"""

import atexit
import os
import shutil
import signal
import tempfile
from pathlib import Path

from tests.services import share

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = [REPOSITORY / "var" / "models", REPOSITORY / "var" / "kernels"]


def make_data_dir() -> Path:
    """A new empty DATA_DIR, removed when the tests end."""
    data_dir = Path(tempfile.mkdtemp(prefix="console-tests-"))
    for folder in SHARED:
        folder.mkdir(parents=True, exist_ok=True)
        (data_dir / folder.name).symlink_to(folder)
    atexit.register(shutil.rmtree, data_dir, ignore_errors=True)
    return data_dir


# A shell that begins the tests in the background has them ignore it, and so would every server of theirs.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Several processes of tests share the cores. With a thread for each core in every one of them, torch's
# threads wait for one another while spinning: the engine's tests took twice as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["DATA_DIR"] = str(make_data_dir())
os.environ.update(share(Path(os.environ["DATA_DIR"])))
