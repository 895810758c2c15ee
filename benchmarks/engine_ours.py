"""What only our engine is asked: latency beside others, a busy Python thread, memory, scaling.

``python -m benchmarks.engine_ours MODEL_FOLDER QUANTIZATION`` prints one JSON object.
"""

from __future__ import annotations

import itertools
import json
import queue
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transformers import AutoConfig

from serving.engine.core import EngineConfig, GenerationRequest, SequenceOutput
from serving.engine.engine import Engine
from serving.engine.native.runner import NativeRunner
from serving.engine.sampling.params import SamplingParams

CONFIG = EngineConfig(max_model_len=8192, kv_blocks=1024, block_size=16, max_batch_size=32)
ROUNDS = 5
_numbers = itertools.count()


def prompt(length: int) -> list[int]:
    """Tokens that no other prompt begins with, so that no cache of prefixes helps."""
    start = next(_numbers) * 104_729
    return [(start + i * 7919) % 49_000 + 3 for i in range(length)]


def resident_bytes() -> int:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


class OurEngine:
    """The whole engine, thread and scheduler included, on the native runner."""

    def __init__(self, folder: Path, quantization: str) -> None:
        AutoConfig.from_pretrained(folder)  # what transformers imports on the way is not the model's
        before = resident_bytes()
        self.runner = NativeRunner.from_pretrained(folder, quantization)
        self.loaded_bytes = resident_bytes() - before
        self._news: queue.SimpleQueue[tuple[float, SequenceOutput]] = queue.SimpleQueue()
        self._engine = Engine(CONFIG, self.runner, self._deliver)
        self._engine.start()

    def _deliver(self, outputs: list[SequenceOutput]) -> None:
        now = time.perf_counter()
        for output in outputs:
            self._news.put((now, output))

    def submit(self, ids: list[int], new_tokens: int) -> str:
        name = f"r{next(_numbers)}"
        params = SamplingParams(max_tokens=new_tokens, temperature=0, ignore_eos=True)
        self._engine.submit(GenerationRequest(name, tuple(ids), params))
        return name

    def news(self) -> tuple[float, SequenceOutput]:
        time_and_output = self._news.get(timeout=120)
        if time_and_output[1].error:
            raise RuntimeError(time_and_output[1].error)
        return time_and_output

    def generate(self, prompts: list[list[int]], new_tokens: int) -> None:
        left = {self.submit(ids, new_tokens) for ids in prompts}
        while left:
            _, output = self.news()
            if output.finish_reason:
                left.discard(output.request_id)


def decode_seconds(engine: OurEngine, sequences: int, context: int) -> float:
    """Median seconds of one decode step of ``sequences`` at about ``context`` tokens each."""
    names = {engine.submit(prompt(context - 16), 32) for _ in range(sequences)}
    times: dict[str, list[float]] = {name: [] for name in names}
    while names:
        now, output = engine.news()
        times[output.request_id].append(now)
        if output.finish_reason:
            names.discard(output.request_id)
    last = times[max(times, key=lambda name: times[name][0])]  # all others decode while it does
    return statistics.median(b - a for a, b in itertools.pairwise(last[1:20]))


def first_token_beside_others(engine: OurEngine, others: int) -> dict[str, float]:
    """Seconds to the first token of a 64-token prompt while ``others`` decode, and what bounds it."""
    waits, steps = [], []
    for _ in range(ROUNDS):
        started_names = [engine.submit(prompt(64), 96) for _ in range(others)]
        seen: dict[str, list[float]] = {name: [] for name in started_names}
        while min(map(len, seen.values())) < 20:
            now, output = engine.news()
            seen[output.request_id].append(now)
        asked = time.perf_counter()
        new = engine.submit(prompt(64), 1)
        left = {new, *started_names}
        while left:
            now, output = engine.news()
            if output.request_id == new:
                waits.append(now - asked)
            if output.finish_reason:
                left.discard(output.request_id)
        steps.append(statistics.median(b - a for a, b in itertools.pairwise(seen[started_names[0]][5:])))
    started = time.perf_counter()
    for _ in range(ROUNDS):
        engine.generate([prompt(64)], 1)
    prefill = (time.perf_counter() - started) / ROUNDS
    wait, step = statistics.median(waits), statistics.median(steps)
    return {"seconds": wait, "step_seconds": step, "prefill_seconds": prefill, "bound": 2 * step + prefill}


@contextmanager
def busy_thread() -> Iterator[None]:
    stop = threading.Event()

    def spin() -> None:
        while not stop.is_set():
            sum(range(1000))

    thread = threading.Thread(target=spin)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def speed_beside_busy_thread(engine: OurEngine, sequences: int) -> dict[str, float]:
    """Decode steps per second, alone and beside a thread that never lets the GIL go by itself."""
    alone, beside = [], []
    for _ in range(ROUNDS):
        alone.append(1 / decode_seconds(engine, sequences, 96))
        with busy_thread():
            beside.append(1 / decode_seconds(engine, sequences, 96))
    a, b = statistics.median(alone), statistics.median(beside)
    return {"alone": a, "beside": b, "ratio": b / a}


def main() -> None:
    engine = OurEngine(Path(sys.argv[1]), sys.argv[2])
    engine.generate([prompt(64)] * 2, 16)
    facts = {
        "weights_bytes": engine.runner.weight_bytes(),
        "loading_added_bytes": engine.loaded_bytes,
        "kv_bytes_per_token": engine.runner.kv_bytes_per_token(),
        "step_ms_by_sequences": {n: decode_seconds(engine, n, 96) * 1e3 for n in (1, 2, 4, 8, 16, 32)},
        "step_ms_by_context": {n: decode_seconds(engine, 1, n) * 1e3 for n in (128, 512, 1024, 2048, 4096)},
        "first_token_beside_16": first_token_beside_others(engine, 16),
        "busy_thread_1": speed_beside_busy_thread(engine, 1),
        "busy_thread_8": speed_beside_busy_thread(engine, 8),
    }
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
