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

from serving.engine.core import (
    BatchItem,
    EngineConfig,
    GenerationRequest,
    ModelRunner,
    Sequence,
    SequenceOutput,
)
from serving.engine.errors import ContextLengthExceeded, DeviceFailed, InvalidRequest, QueueFull
from serving.engine.inbox import Inbox
from serving.engine.kv_cache import KVCache
from serving.engine.outputs import judge, last_output
from serving.engine.sampling.adjustments import Adjustments
from serving.engine.sampling.randomness import fresh_seed
from serving.engine.scheduler import Scheduler
from serving.engine.stats import EngineStats, Meter

log = logging.getLogger(__name__)

Deliver = Callable[[list[SequenceOutput]], None]

# A step may fail for what is in it. When so many fail in a row, it is the engine.
MAX_FAILURES_IN_A_ROW = 3


class Engine:
    """``submit`` and ``abort`` may be called from any thread; ``deliver`` is called on the engine's.

    Tests may call ``step()`` themselves instead of ``start()``.
    """

    def __init__(
        self,
        config: EngineConfig,
        runner: ModelRunner,
        deliver: Deliver,
        on_failure: Callable[[str], None] = lambda reason: None,
    ) -> None:
        """``on_failure`` gets the reason when the engine has failed for good, as the last deed of its
        thread. Raises MemoryError when the cache does not fit."""
        runner.allocate(config.kv_blocks, config.block_size)
        self._config = config
        self._runner = runner
        self._weight_bytes = runner.weight_bytes()
        self._deliver = deliver
        self._on_failure = on_failure
        self._cache = KVCache(config.kv_blocks, config.block_size)
        self._scheduler = Scheduler(config, self._cache)
        self._meter = Meter()
        self._failures_in_a_row = 0
        # Why the engine cannot go on. Set by its own thread, which then ends.
        self.failure: str | None = None
        self._thread = threading.Thread(target=self._loop, name=f"engine-{runner.name}", daemon=True)
        self._inbox = Inbox(config, self._meter.pace)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread after the step under way. Every open request gets an error output."""
        self._inbox.close("The engine was stopped.")
        if self._thread.ident is None:
            self._end_everything()
        else:
            self._thread.join()

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs: false before ``start``, after ``stop`` and after it crashed."""
        return self._thread.is_alive() and self._inbox.closed is None

    def submit(self, request: GenerationRequest) -> None:
        """Queue a request; its outputs come through ``deliver``.

        Raises InvalidRequest, ContextLengthExceeded, QueueFull or EngineStopped, at once.
        """
        self._check(request)
        try:
            sequence = self._begin(request)
        except MemoryError as error:
            raise QueueFull(self._meter.pace.retry_after()) from error
        self._inbox.put(sequence)

    def abort(self, request_id: str) -> None:
        """End a request within one step; its last output says "abort". Unknown ids are ignored, for
        a request may finish while its abort is on the way."""
        self._inbox.abort(request_id)

    def step(self) -> None:
        """Drain inbox and aborts, compute one batch, tell the news."""
        outputs = self._take_in()
        batch = self._scheduler.schedule()
        try:
            news = self._compute(batch) if batch else []
        except Exception as error:
            news = self._fail(batch, error)
        self._hand_out(outputs + [self._settle(output) for output in news])

    def stats(self) -> EngineStats:
        """Callable from any thread; numbers may be of two successive steps."""
        meter, running = self._meter, len(self._scheduler.running)
        waiting = len(self._inbox) - running
        is_full = waiting > 0 or running >= self._config.max_batch_size
        return EngineStats(
            running=running,
            waiting=waiting,
            max_waiting=self._config.max_waiting,
            predicted_wait_seconds=(waiting + 1) * meter.pace.seconds_per_finish() if is_full else 0.0,
            tokens_per_second=meter.pace.tokens_per_second(),
            kv_blocks_used=self._cache.num_used,
            kv_blocks_total=self._cache.num_blocks,
            kv_bytes=self._cache.num_tokens * self._runner.kv_bytes_per_token(),
            weight_bytes=self._weight_bytes,
            last_step_ms=meter.last_step_ms,
            steps_total=meter.steps,
            step_seconds_total=meter.step_seconds,
            failed_steps_total=meter.failed_steps,
            tokens_generated_total=meter.tokens_generated,
            tokens_computed_total=meter.tokens_computed,
            prefix_hits_total=self._cache.prefix_hits,
            prefix_tokens_reused_total=self._cache.prefix_tokens_reused,
            preemptions_total=self._scheduler.preemptions,
            step_times=meter.step_times.read(),
            first_token_times=meter.first_token_times.read(),
            token_intervals=meter.token_intervals.read(),
        )

    def check_integrity(self) -> None:
        """Raise AssertionError unless the cache's books balance. Between steps only."""
        self._cache.check_integrity(self._scheduler.running)

    def _check(self, request: GenerationRequest) -> None:
        prompt, params = request.prompt_ids, request.params
        if not prompt:
            raise InvalidRequest("The prompt must hold at least one token.")
        tokens = (*prompt, *params.stop_token_ids, *params.logit_bias)
        if min(tokens) < 0 or max(tokens) >= self._runner.vocab_size:
            raise InvalidRequest(f"Token ids must be from 0 to {self._runner.vocab_size - 1}.")
        limit = min(self._config.max_model_len, self._config.kv_blocks * self._config.block_size)
        completion = params.max_tokens if request.pooling is None else 0
        if len(prompt) + completion > limit:
            raise ContextLengthExceeded(
                f"This model's maximum context length is {limit} tokens, but {len(prompt)} of prompt"
                f" and {completion} of completion were asked for."
            )

    def _begin(self, request: GenerationRequest) -> Sequence:
        params = request.params
        ends = {*params.stop_token_ids, *(() if params.ignore_eos else self._runner.eos_token_ids)}
        return Sequence(
            request,
            fresh_seed() if params.seed is None else params.seed,
            list(request.prompt_ids),
            adjustments=Adjustments.of(params, request.prompt_ids, ends),
            grammar=None if params.grammar is None else params.grammar.start(),
        )

    def _compute(self, batch: list[BatchItem]) -> list[SequenceOutput]:
        started = time.perf_counter()
        result = self._runner.run(batch)
        self._meter.step(batch, time.perf_counter() - started)
        self._scheduler.advance(batch, result.token_ids)
        eos = self._runner.eos_token_ids
        judged = [judge(index, item, result, eos) for index, item in enumerate(batch)]
        self._failures_in_a_row = 0
        return [output for output in judged if output is not None]

    def _fail(self, batch: list[BatchItem], error: Exception) -> list[SequenceOutput]:
        """End what made the step fail: of a batch too large for the memory the youngest sequence, so that
        the others are tried again without it; otherwise, not knowing better, all of it."""
        self._meter.failed_step()
        if isinstance(error, MemoryError) and len(batch) > 1:
            log.warning("A step of %d sequences did not fit the memory; refusing one", len(batch))
            youngest = max((item.sequence for item in batch), key=self._scheduler.running.index)
            return [last_output(youngest, "error", f"There is not enough memory for this request: {error}")]
        log.error("A step of %d sequences failed", len(batch), exc_info=error)
        self._failures_in_a_row += 1
        cause = f"{type(error).__name__}: {error}"
        if isinstance(error, DeviceFailed) or self._failures_in_a_row >= MAX_FAILURES_IN_A_ROW:
            self.failure = f"The engine has failed and must be restarted. {cause}"
        reason = f"The model failed while computing this request: {cause}"
        return [last_output(item.sequence, "error", reason) for item in batch]

    def _loop(self) -> None:
        try:
            while self.failure is None and self._inbox.wait():
                self.step()
        except BaseException as error:
            self.failure = f"The engine crashed. {type(error).__name__}: {error}"
            raise
        finally:
            self._end_everything()
            if self.failure is not None:
                self._on_failure(self.failure)

    def _take_in(self) -> list[SequenceOutput]:
        new, aborted = self._inbox.take()
        for sequence in new:
            self._scheduler.add(sequence)
        return [self._settle(last_output(sequence, "abort")) for sequence in aborted]

    def _settle(self, output: SequenceOutput) -> SequenceOutput:
        """Forget the sequence if this is its last output."""
        if output.finish_reason is not None:
            self._scheduler.remove(self._inbox.forget(output.request_id))
            self._meter.pace.finished()
        return output

    def _hand_out(self, outputs: list[SequenceOutput]) -> None:
        if not outputs:
            return
        try:
            self._deliver(outputs)
        except Exception:
            log.exception("The receiver of %d outputs failed; the engine goes on", len(outputs))

    def _end_everything(self) -> None:
        self._inbox.close(self.failure or "The engine was stopped.")
        reason = self._inbox.closed
        outputs = self._take_in()
        outputs += [self._settle(last_output(rest, "error", reason)) for rest in self._inbox.rest()]
        self._hand_out(outputs)
