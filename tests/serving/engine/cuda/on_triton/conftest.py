"""The kernels of the GPU runner against plain torch. They need the package triton, which comes with torch for
CUDA and has no place among the requirements of a CPU: without it there is nothing to collect.

Without a GPU, Triton's interpreter runs them, in a virtual environment with triton 3.6 and numpy below 2.4:

    TRITON_INTERPRET=1 python -m pytest tests/serving/engine/cuda/on_triton
"""

from __future__ import annotations

import importlib.util
import os

import torch

# Triton reads the variable when it is imported, which other parts of the tests may have done by now.
_can_run = torch.cuda.is_available() or os.environ.get("TRITON_INTERPRET") == "1"
collect_ignore_glob = [] if importlib.util.find_spec("triton") and _can_run else ["test_*.py"]
