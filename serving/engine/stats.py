"""What the engine counts about itself."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Sequence as Seq
from dataclasses import dataclass

from serving.engine.core import BatchItem, Sequence
from serving.engine.pace import Pace

# Seconds, each three times or so the one before: from a step of a small model to a prompt of a large one.
_SHORT = (0.001, 0.003, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1.0, 3.0)
_LONG = (0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 120.0)


@dataclass(frozen=True, slots=True)
class Distribution:
    """``counts[i]`` values were at most ``bounds[i]`` and above the bound before; the last count is of those
    above all bounds. ``total`` is their sum."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float


class Histogram:
    """Written by the engine's thread, read by any."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._total += value

    def read(self) -> Distribution:
        return Distribution(self._bounds, tuple(self._counts), self._total)


@dataclass(frozen=True, slots=True)
class EngineStats:
    """What the engine is doing now, and what it did since it started (``*_total``).

    ``max_waiting``: more are refused. ``tokens_per_second``: generated, over the last ten seconds.
    ``predicted_wait_seconds``: until a request that comes now would be started.
    ``tokens_computed_total``: of prompts and outputs, cached ones left out.
    Seconds of each step; from a request's arrival to its first token; from one token of it to the next.
    ``weight_bytes`` as quantized; ``kv_bytes`` of the whole cache, which becomes resident as it is used.
    """

    running: int
    waiting: int
    max_waiting: int
    predicted_wait_seconds: float
    tokens_per_second: float
    kv_blocks_used: int
    kv_blocks_total: int
    kv_bytes: int
    weight_bytes: int
    last_step_ms: float
    steps_total: int
    step_seconds_total: float
    failed_steps_total: int
    tokens_generated_total: int
    tokens_computed_total: int
    prefix_hits_total: int
    prefix_tokens_reused_total: int
    preemptions_total: int
    step_times: Distribution
    first_token_times: Distribution
    token_intervals: Distribution


class Meter:
    """Written by the engine's thread, read by any."""

    def __init__(self) -> None:
        self.pace = Pace()
        self.last_step_ms = 0.0
        self.steps = 0
        self.step_seconds = 0.0
        self.step_times = Histogram(_SHORT)
        self.first_token_times = Histogram(_LONG)
        self.token_intervals = Histogram(_SHORT)
        self.failed_steps = 0
        self.tokens_generated = 0
        self.tokens_computed = 0

    def step(self, batch: Seq[BatchItem], seconds: float) -> None:
        """A step succeeded; its sequences share its time by their tokens."""
        tokens = sum(item.length for item in batch)
        generated = sum(item.samples for item in batch)
        now = time.monotonic()
        for item in batch:
            item.sequence.compute_seconds += seconds * item.length / tokens
            if item.samples:
                self._sampled(item.sequence, now)
        self.pace.generated(generated)
        self.tokens_generated += generated
        self.tokens_computed += tokens
        self.last_step_ms = seconds * 1e3
        self.step_seconds += seconds
        self.step_times.observe(seconds)
        self.steps += 1

    def _sampled(self, sequence: Sequence, now: float) -> None:
        if sequence.last_token is None:
            sequence.first_token = now
            self.first_token_times.observe(now - sequence.arrived)
        else:
            self.token_intervals.observe(now - sequence.last_token)
        sequence.last_token = now

    def failed_step(self) -> None:
        self.failed_steps += 1
        self.steps += 1
