"""The engine: one thread that turns requests into tokens, one step after the other.

Callers on any thread leave requests and aborts in an inbox. The engine's own thread, the only one
that runs the model, takes them in at the start of each step and hands out all news of the step in
one call of ``deliver``.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from serving.engine.core import (
    ContextLengthExceeded,
    EngineConfig,
    EngineStopped,
    FinishReason,
    GenerationRequest,
    InvalidRequest,
    ModelRunner,
    QueueFull,
    Sequence,
    SequenceOutput,
)
from serving.engine.kv_cache import KVCache
from serving.engine.pace import Pace
from serving.engine.randomness import fresh_seed
from serving.engine.scheduler import Scheduler

log = logging.getLogger(__name__)

Deliver = Callable[[list[SequenceOutput]], None]


@dataclass(frozen=True, slots=True)
class EngineStats:
    """What the engine is doing now, and what it did since it started (``*_total``)."""

    running: int
    waiting: int
    kv_blocks_used: int
    kv_blocks_total: int
    last_step_ms: float
    steps_total: int
    tokens_generated_total: int
    prefix_tokens_reused_total: int
    preemptions_total: int


class Engine:
    """``submit`` and ``abort`` may be called from any thread; ``deliver`` is called on the engine's.

    Tests may call ``step()`` themselves instead of ``start()``.
    """

    def __init__(self, config: EngineConfig, runner: ModelRunner, deliver: Deliver) -> None:
        """Raises MemoryError when the cache does not fit."""
        runner.allocate(config.kv_blocks, config.block_size)
        self._config = config
        self._runner = runner
        self._deliver = deliver
        self._cache = KVCache(config.kv_blocks, config.block_size)
        self._scheduler = Scheduler(config, self._cache)
        self._pace = Pace()
        self._thread = threading.Thread(target=self._loop, name=f"engine-{runner.name}", daemon=True)
        self._wake = threading.Condition()
        # Guarded by _wake: everything that other threads write.
        self._inbox: list[Sequence] = []
        self._aborts: set[str] = set()
        self._open: dict[str, Sequence] = {}
        self._stopping = False
        self._last_step_ms = 0.0
        self._steps = 0
        self._tokens_generated = 0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread after the step under way. Every open request gets an error output."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread.ident is None:
            self._end_everything()
        else:
            self._thread.join()

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs: false before ``start``, after ``stop`` and after it crashed."""
        return self._thread.is_alive() and not self._stopping

    def submit(self, request: GenerationRequest) -> None:
        """Queue a request; its outputs come through ``deliver``.

        Raises InvalidRequest, ContextLengthExceeded, QueueFull or EngineStopped, at once.
        """
        self._check(request)
        seed = fresh_seed() if request.params.seed is None else request.params.seed
        sequence = Sequence(request, seed, list(request.prompt_ids))
        with self._wake:
            if self._stopping:
                raise EngineStopped("The engine is stopped.")
            if request.request_id in self._open:
                raise InvalidRequest(f"Request id {request.request_id!r} is already running.")
            if len(self._open) >= self._config.max_batch_size + self._config.max_waiting:
                raise QueueFull(self._pace.seconds_per_finish())
            self._open[request.request_id] = sequence
            self._inbox.append(sequence)
            self._wake.notify()

    def abort(self, request_id: str) -> None:
        """End a request within one step; its last output says "abort". Unknown ids are ignored, for
        a request may finish while its abort is on the way."""
        with self._wake:
            if request_id in self._open:
                self._aborts.add(request_id)
                self._wake.notify()

    def step(self) -> None:
        """Drain inbox and aborts, compute one batch, tell the news."""
        started = time.perf_counter()
        outputs = self._take_in()
        batch = self._scheduler.schedule()
        try:
            sampled = self._runner.run(batch) if batch else []
            self._scheduler.advance(batch, sampled)
            outputs += [self._judge(item.sequence) for item in batch if item.samples]
        except Exception as error:
            log.exception("A step of %d sequences failed", len(batch))
            reason = f"The model failed while computing this request: {type(error).__name__}: {error}"
            outputs += [self._finish(item.sequence, "error", reason) for item in batch]
        self._last_step_ms = (time.perf_counter() - started) * 1e3
        self._steps += 1
        self._hand_out(outputs)

    def stats(self) -> EngineStats:
        """Callable from any thread; numbers may be of two successive steps."""
        running = len(self._scheduler.running)
        return EngineStats(
            running=running,
            waiting=len(self._open) - running,
            kv_blocks_used=self._cache.num_used,
            kv_blocks_total=self._cache.num_blocks,
            last_step_ms=self._last_step_ms,
            steps_total=self._steps,
            tokens_generated_total=self._tokens_generated,
            prefix_tokens_reused_total=self._cache.prefix_tokens_reused,
            preemptions_total=self._scheduler.preemptions,
        )

    def check_integrity(self) -> None:
        """Raise AssertionError unless the cache's books balance. Between steps only."""
        self._cache.check_integrity(self._scheduler.running)

    def _check(self, request: GenerationRequest) -> None:
        prompt, params = request.prompt_ids, request.params
        if not prompt:
            raise InvalidRequest("The prompt must hold at least one token.")
        if min(prompt) < 0 or max(prompt) >= self._runner.vocab_size:
            raise InvalidRequest(f"Token ids must be from 0 to {self._runner.vocab_size - 1}.")
        limit = min(self._config.max_model_len, self._config.kv_blocks * self._config.block_size)
        if len(prompt) + params.max_tokens > limit:
            raise ContextLengthExceeded(
                f"This model's maximum context length is {limit} tokens, but {len(prompt)} of prompt"
                f" and {params.max_tokens} of completion were asked for."
            )

    def _loop(self) -> None:
        try:
            while self._wait_for_work():
                self.step()
        finally:
            self._end_everything()

    def _wait_for_work(self) -> bool:
        """Block while idle. False: it is time to stop."""
        with self._wake:
            self._wake.wait_for(lambda: self._stopping or self._open)
            return not self._stopping

    def _take_in(self) -> list[SequenceOutput]:
        with self._wake:
            inbox, self._inbox = self._inbox, []
            aborts, self._aborts = self._aborts, set()
            aborted = [self._open[request_id] for request_id in aborts if request_id in self._open]
        for sequence in inbox:
            self._scheduler.add(sequence)
        return [self._finish(sequence, "abort") for sequence in aborted]

    def _judge(self, sequence: Sequence) -> SequenceOutput:
        """What the token just sampled means for its sequence."""
        self._tokens_generated += 1
        token, params = sequence.token_ids[-1], sequence.params
        is_eos = token in self._runner.eos_token_ids and not params.ignore_eos
        if is_eos or token in params.stop_token_ids:
            return self._finish(sequence, "stop")
        if sequence.num_output >= params.max_tokens:
            return self._finish(sequence, "length", token_ids=(token,))
        return _output(sequence, (token,))

    def _finish(
        self,
        sequence: Sequence,
        reason: FinishReason,
        error: str | None = None,
        token_ids: tuple[int, ...] = (),
    ) -> SequenceOutput:
        self._scheduler.remove(sequence)
        with self._wake:
            del self._open[sequence.request_id]
            self._aborts.discard(sequence.request_id)
        self._pace.finished()
        return _output(sequence, token_ids, reason, error)

    def _hand_out(self, outputs: list[SequenceOutput]) -> None:
        if not outputs:
            return
        try:
            self._deliver(outputs)
        except Exception:
            log.exception("The receiver of %d outputs failed; the engine goes on", len(outputs))

    def _end_everything(self) -> None:
        with self._wake:
            self._stopping = True
        outputs = self._take_in()
        with self._wake:
            rest = list(self._open.values())
        outputs += [self._finish(s, "error", "The engine was stopped.") for s in rest]
        self._hand_out(outputs)


def _output(
    sequence: Sequence,
    token_ids: tuple[int, ...],
    reason: FinishReason | None = None,
    error: str | None = None,
) -> SequenceOutput:
    return SequenceOutput(
        sequence.request_id, token_ids, sequence.num_prompt, sequence.num_output, reason, error
    )
