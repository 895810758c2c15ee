"""Keeps the libraries' own progress bars and advice off the terminal: ours is the only progress line."""

from __future__ import annotations

import functools
import logging

import transformers.modeling_gguf_pytorch_utils as gguf_reader
from transformers.utils import logging as transformers_logging

# Each says, at its first call or at every one, what an operator can do nothing about.
_ADVISERS = ("bitsandbytes.autograd._functions", "bitsandbytes.backends.cpu.ops")


def silence_libraries() -> None:
    """Of this process, for good. Errors still come through, as exceptions and in the log."""
    transformers_logging.disable_progress_bar()  # and huggingface_hub's with it
    gguf_reader.tqdm = functools.partial(gguf_reader.tqdm, disable=True)  # the only bar that has no switch
    for name in _ADVISERS:
        logging.getLogger(name).setLevel(logging.ERROR)
