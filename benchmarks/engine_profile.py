"""Where does the time of a decode step go, and how far is that from what the machine can do?

    .venv/bin/python -m benchmarks.engine_profile

Runs a library that counts what its threads do (kernels/profile.h), with 1, 8 and 32 sequences.
"""

from __future__ import annotations

import ctypes
import itertools
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from transformers import AutoConfig

from benchmarks.engine_ours import CONFIG, prompt
from benchmarks.fidelity import default_model
from benchmarks.report import show_progress, write_result
from serving.engine.core import GenerationRequest
from serving.engine.engine import Engine
from serving.engine.native.kernels.binding import load_library
from serving.engine.native.quantize import Bits, Checkpoint
from serving.engine.native.runner import NativeRunner, usable_cores
from serving.engine.native.weights import Weights
from serving.engine.sampling.params import SamplingParams

# In the order of kernels/profile.h. Idle is what is not in C at all: Python, and waking the helpers.
DOINGS = (
    "Python", "embedding", "quantizing", "qkv", "attention", "out", "gate and up", "down", "head",
    "sampling", "barriers",
)  # fmt: skip
KERNELS = Path("var/kernels")
SEQUENCES = (1, 8, 32)
CONTEXT, WARM_UP, STEPS, ROUNDS = 96, 12, 20, 9
# Of a core without AVX-512: two vectors of sixteen 16-bit numbers a cycle, at the clock that a chain of
# dependent additions showed.
MULTIPLY_ADDS_PER_CYCLE, GIGAHERTZ = 32, 3.2
BITS: dict[str, Bits] = {"int8": 8, "int4": 4}


class Profiled:
    """An engine on a library that counts, stepped by hand."""

    def __init__(self, folder: Path, kind: str) -> None:
        self._library = load_library(KERNELS, "native", "-DPROFILE")
        config = AutoConfig.from_pretrained(folder)
        self.weights = Weights(self._library, Checkpoint(folder), config, BITS[kind])
        self.runner = NativeRunner(self._library, self.weights, config, frozenset(), kind, None)
        self._engine = Engine(CONFIG, self.runner, lambda outputs: None)
        self._names = map(str, itertools.count())

    def step_ms(self, sequences: int) -> dict[str, float]:
        """The milliseconds of a decode step by what was done in them, the average of all threads."""
        params = SamplingParams(max_tokens=WARM_UP + STEPS + 1, temperature=0, ignore_eos=True)
        for _ in range(sequences):
            self._engine.submit(GenerationRequest(next(self._names), tuple(prompt(CONTEXT)), params))
        self._steps(WARM_UP)
        self._take_profile()
        started = time.perf_counter()
        self._steps(STEPS)
        wall = time.perf_counter() - started
        spent = [seconds / usable_cores() for seconds in self._take_profile()]
        spent[0] = wall - sum(spent[1:])
        while self._engine.stats().running:
            self._engine.step()
        return {name: seconds / STEPS * 1e3 for name, seconds in zip(DOINGS, spent, strict=True)}

    def _steps(self, count: int) -> None:
        for _ in range(count):
            self._engine.step()

    def _take_profile(self) -> list[float]:
        """Seconds of all threads since the last time."""
        nanoseconds = (ctypes.c_int64 * len(DOINGS))()
        self._library.take_profile(nanoseconds)
        return [each / 1e9 for each in nanoseconds]


def read_rate() -> float:
    """Bytes a second that all cores together read from memory."""
    parts = [np.ones(2**25, np.int64) for _ in range(usable_cores())]
    rates = []
    with ThreadPoolExecutor(len(parts)) as pool:
        for _ in range(ROUNDS):
            started = time.perf_counter()
            list(pool.map(np.sum, parts))
            rates.append(sum(part.nbytes for part in parts) / (time.perf_counter() - started))
    return max(rates)


def multiply_adds(model: Any, context: int) -> int:
    """Of one token."""
    layer = model.layer[0]
    matrices = (layer.qkv, layer.out, layer.gate_up, layer.down)
    in_matrices = sum(matrix.outputs * matrix.inputs for matrix in matrices)
    in_attention = 2 * model.heads * model.head_dim * context
    return int(model.layers * (in_matrices + in_attention) + model.head.outputs * model.head.inputs)


def limits_ms(profiled: Profiled, sequences: int, bytes_a_second: float) -> dict[str, float]:
    """What reading alone and multiplying alone would take."""
    context = CONTEXT + WARM_UP + STEPS // 2
    read = profiled.runner.weight_bytes() + sequences * context * profiled.runner.kv_bytes_per_token()
    rate = MULTIPLY_ADDS_PER_CYCLE * GIGAHERTZ * 1e9 * usable_cores()
    work = sequences * multiply_adds(profiled.weights.model, context)
    return {"limit by bytes": read / bytes_a_second * 1e3, "limit by arithmetic": work / rate * 1e3}


def quickest_step(profiled: Profiled, sequences: int) -> dict[str, float]:
    """Of ``ROUNDS``: whatever else the machine has to do only adds to it."""
    runs = [profiled.step_ms(sequences) for _ in range(ROUNDS)]
    return min(runs, key=lambda run: sum(run.values()))


def main() -> None:
    folder, rate = default_model(), read_rate()
    rows: list[dict[str, Any]] = []
    cases = [(kind, sequences) for kind in BITS for sequences in SEQUENCES]
    contenders = {kind: Profiled(folder, kind) for kind in BITS}
    for done, (kind, sequences) in enumerate(cases):
        show_progress(done, len(cases), f"{kind}, {sequences} sequences")
        spent = quickest_step(contenders[kind], sequences)
        limits = limits_ms(contenders[kind], sequences, rate)
        rows.append({"case": f"{kind}, {sequences}", **spent, "whole step": sum(spent.values()), **limits})
    show_progress(len(cases), len(cases), "done\n")
    for name in list(rows[0])[1:]:
        print(f"{name:20}" + "".join(f"{row[name]:10.2f}" for row in rows))
    write_result("engine_profile", [{"read_bytes_per_second": rate}, *rows])


if __name__ == "__main__":
    main()
