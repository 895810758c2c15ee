"""The fast runner: Llama-shaped models with int8 or int4 weights on a CPU.

One step is one call into C (``kernels/``): embedding, all layers, attention over the paged cache, the
head and sampling. The GIL is given up once and taken back once, so web traffic does not stop the model.
"""

from __future__ import annotations

import ctypes
import math
import os
import sys
from collections.abc import Sequence as Seq
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from transformers import AutoConfig

from serving.engine.core import BatchItem, StepResult
from serving.engine.end_tokens import end_tokens
from serving.engine.errors import EngineError
from serving.engine.models_file import ModelSpec
from serving.engine.native.kernels.binding import load_library
from serving.engine.native.quantize import Bits, Checkpoint, Floats
from serving.engine.native.step import NativeStep
from serving.engine.native.weights import Weights, head_dim
from serving.engine.saying import say

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
_BITS: dict[str, Bits] = {"int8": 8, "int4": 4}
_GROUP = 64
_ROTARY = ("default", "llama3")
_LANES = 16
_MAX_HEAD = 256
_SWITCH_SECONDS = 5e-4
_DEFAULT_KERNELS = Path(__file__).resolve().parents[3] / "var" / "kernels"


class NativeRunner:
    """A ``ModelRunner`` over the C library."""

    @staticmethod
    def supports(config: Any, spec: ModelSpec) -> tuple[bool, str]:
        """Whether this runner can run ``spec`` with the transformers ``config``, and why (not)."""
        if spec.quantization not in _BITS:
            return False, say(
                "quantization %(given)s is not one of %(known)s",
                given=spec.quantization,
                known=", ".join(_BITS),
            )
        if spec.device_map not in ("auto", "cpu"):
            return False, say("device %(device)s is not a CPU", device=spec.device_map)
        if reason := _unsupported_shape(config, spec.max_model_len):
            return False, reason
        return True, say(
            "%(family)s with %(weights)s weights on a CPU",
            family=config.model_type,
            weights=spec.quantization,
        )

    @classmethod
    def from_pretrained(
        cls,
        folder: Path,
        quantization: str,
        *,
        name: str = "",
        kernels_dir: Path = _DEFAULT_KERNELS,
        processor: str = "native",
        threads: int | None = None,
    ) -> NativeRunner:
        """Load a folder with config.json and safetensors. Raises KernelError when the C library cannot
        be built here, CheckpointError when weights are missing."""
        # A step takes the GIL back once. At Python's usual 5 ms, longer than a whole step, one busy thread
        # would make that the larger part of the time.
        sys.setswitchinterval(min(_SWITCH_SECONDS, sys.getswitchinterval()))
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        library = load_library(kernels_dir, processor)
        weights = Weights(library, Checkpoint(folder), config, _BITS[quantization])
        return cls(library, weights, config, end_tokens(folder, config), name or folder.name, threads)

    def __init__(
        self,
        library: ctypes.CDLL,
        weights: Weights,
        config: Any,
        eos_token_ids: frozenset[int],
        name: str,
        threads: int | None,
    ) -> None:
        self.name = name
        self.vocab_size: int = config.vocab_size
        self._hidden: int = config.hidden_size
        self.eos_token_ids = eos_token_ids
        self._library = library
        self._weights = weights
        self._kv_bytes: int = config.num_hidden_layers * config.num_key_value_heads * head_dim(config) * 2 * 2
        self._block_size = 0
        self._cache: npt.NDArray[np.uint8] | None = None
        self._handle = library.runner_new(ctypes.byref(weights.model), threads or usable_cores())
        if not self._handle:
            raise MemoryError("There is no memory for the runner's threads.")

    def allocate(self, kv_blocks: int, block_size: int) -> None:
        """The memory becomes resident as it is used. ``block_size``: a multiple of 16."""
        if block_size % _LANES:
            raise EngineError(f"block_size {block_size} is not a multiple of {_LANES}.")
        self._cache = np.zeros(kv_blocks * block_size * self._kv_bytes + 64, np.uint8)
        self._block_size = block_size
        address = self._cache.ctypes.data
        self._library.runner_set_cache(self._handle, address + -address % 64, kv_blocks, block_size)

    def run(self, batch: Seq[BatchItem]) -> StepResult:
        step = NativeStep(batch, self._hidden)
        self._run(step)
        return step.result()

    def logits(self, item: BatchItem) -> Floats:
        """The logits after each token of ``item``, shape (length, vocabulary): for measuring fidelity."""
        logits = np.empty((item.length, self.vocab_size), np.float32)
        self._run(NativeStep([item], self._hidden, logits.ctypes.data))
        return logits

    def weight_bytes(self) -> int:
        return self._weights.bytes_held

    def kv_bytes_per_token(self) -> int:
        return self._kv_bytes

    def close(self) -> None:
        """End the threads and free what C holds. The runner cannot run again."""
        if self._handle:
            self._library.runner_free(self._handle)
            self._handle = None

    def __del__(self) -> None:
        self.close()

    def _run(self, step: NativeStep) -> None:
        if self._library.runner_run(self._handle, ctypes.byref(step.structure)):
            raise MemoryError(f"There is no memory for a step of {step.num_tokens} tokens.")


def usable_cores() -> int:
    """Cores this process may use: its affinity, and its container's quota if there is one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="utf-8").split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, int(quota) // int(period)))


def _unsupported_shape(config: Any, max_model_len: int | None) -> str | None:
    if config.model_type not in FAMILIES:
        return say("%(given)s is not one of %(known)s", given=config.model_type, known=", ".join(FAMILIES))
    if (scaling := config.rope_parameters["rope_type"]) not in _ROTARY:
        return say(
            "rotary scaling %(given)s is not one of %(known)s", given=scaling, known=", ".join(_ROTARY)
        )
    if config.hidden_act != "silu":
        return say("activation %(given)s is not silu", given=config.hidden_act)
    length = max_model_len or config.max_position_embeddings
    if _sliding_window(config) < length:
        return say("attention over a sliding window")
    widths = (config.hidden_size, config.intermediate_size, config.num_attention_heads * head_dim(config))
    if any(width % _GROUP for width in widths):
        return say("widths %(widths)s are not multiples of %(multiple)s", widths=widths, multiple=_GROUP)
    if head_dim(config) % _LANES or head_dim(config) > _MAX_HEAD:
        return say(
            "head dimension %(given)s is not a multiple of %(multiple)s up to %(most)s",
            given=head_dim(config),
            multiple=_LANES,
            most=_MAX_HEAD,
        )
    return None


def _sliding_window(config: Any) -> float:
    if getattr(config, "use_sliding_window", True) and getattr(config, "sliding_window", None):
        return float(config.sliding_window)
    return math.inf
