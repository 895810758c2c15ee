"""What the engine counts about itself."""

from __future__ import annotations

from collections.abc import Sequence as Seq
from dataclasses import dataclass

from serving.engine.core import BatchItem
from serving.engine.pace import Pace


@dataclass(frozen=True, slots=True)
class EngineStats:
    """What the engine is doing now, and what it did since it started (``*_total``).

    ``tokens_per_second``: generated, over the last ten seconds. ``predicted_wait_seconds``: until a request
    that comes now would be started. ``tokens_computed_total``: of prompts and outputs, cached ones left out.
    """

    running: int
    waiting: int
    predicted_wait_seconds: float
    tokens_per_second: float
    kv_blocks_used: int
    kv_blocks_total: int
    last_step_ms: float
    steps_total: int
    step_seconds_total: float
    failed_steps_total: int
    tokens_generated_total: int
    tokens_computed_total: int
    prefix_hits_total: int
    prefix_tokens_reused_total: int
    preemptions_total: int


class Meter:
    """Written by the engine's thread, read by any."""

    def __init__(self) -> None:
        self.pace = Pace()
        self.last_step_ms = 0.0
        self.steps = 0
        self.step_seconds = 0.0
        self.failed_steps = 0
        self.tokens_generated = 0
        self.tokens_computed = 0

    def step(self, batch: Seq[BatchItem], seconds: float) -> None:
        """A step succeeded; its sequences share its time by their tokens."""
        tokens = sum(item.length for item in batch)
        generated = sum(item.samples for item in batch)
        for item in batch:
            item.sequence.compute_seconds += seconds * item.length / tokens
        self.pace.generated(generated)
        self.tokens_generated += generated
        self.tokens_computed += tokens
        self.last_step_ms = seconds * 1e3
        self.step_seconds += seconds
        self.steps += 1

    def failed_step(self) -> None:
        self.failed_steps += 1
        self.steps += 1
