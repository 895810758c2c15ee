"""Loaded before Django's settings (`-p tests.environment`): gives the tests a DATA_DIR of their own.

Only the converted models are shared with `make run`: they are read-only and slow to make.
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED_MODELS = REPOSITORY / "var" / "models"


def make_data_dir() -> Path:
    """A new empty DATA_DIR, removed when the tests end."""
    SHARED_MODELS.mkdir(parents=True, exist_ok=True)
    data_dir = Path(tempfile.mkdtemp(prefix="console-tests-"))
    (data_dir / "models").symlink_to(SHARED_MODELS)
    atexit.register(shutil.rmtree, data_dir, ignore_errors=True)
    return data_dir


os.environ["DATA_DIR"] = str(make_data_dir())
