"""What the engine does when a step fails, the memory is used up or the device is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence as Seq
from typing import Any

import pytest

from serving.engine.core import BatchItem, GenerationRequest, StepResult
from serving.engine.engine import MAX_FAILURES_IN_A_ROW, Engine
from serving.engine.errors import DeviceFailed, EngineStopped, QueueFull
from serving.engine.sampling.params import SamplingParams
from tests.serving.engine.fakes import CONFIG, BlockRunner, House, continuation


class SmallMemory(BlockRunner):
    """Steps of more than 12 tokens do not fit."""

    def run(self, batch: Seq[BatchItem]) -> StepResult:
        if sum(item.length for item in batch) > 12:
            raise MemoryError("12 tokens at most")
        return super().run(batch)


def test_a_step_that_does_not_fit_refuses_the_newest_request_and_loses_nothing_of_the_others() -> None:
    house = House(runner=SmallMemory(), prefill_chunk=64)
    house.submit("old", max_tokens=8)
    house.steps(2)
    house.submit("too large", (1,) * 8, max_tokens=8)
    house.submit("later", (4, 5, 6, 7, 8), max_tokens=8)
    house.steps(12)
    assert house.tokens("old") == continuation((1, 2, 3), 8)
    refused = {name for name in ("old", "too large", "later") if house.last(name).finish_reason == "error"}
    assert refused == {"later"}
    assert "not enough memory for this request: 12 tokens at most" in (house.last("later").error or "")
    assert house.tokens("too large") == continuation((1,) * 8, 8)
    assert house.engine.stats().kv_blocks_used == 0
    assert house.engine.failure is None
    assert house.engine.stats().failed_steps_total == 1


def test_a_request_for_which_there_is_no_memory_is_refused_and_can_come_back() -> None:
    class Grammar:
        def start(self) -> Any:
            raise MemoryError

    house = House()
    with pytest.raises(QueueFull):
        house.submit("r", grammar=Grammar())
    house.submit("r")
    house.steps(5)
    assert house.last("r").finish_reason == "length"


class Failing:
    """A live engine whose runner fails as told; what its end was like."""

    def __init__(self, error: Exception, *, times: int) -> None:
        self.house = House()
        self.reasons: list[str] = []
        self.ended = threading.Event()
        self.left = times
        self.error = error
        self.runner = BlockRunner()
        self.engine = Engine(CONFIG, self.runner, self.house.deliver, self.end)
        self.house.engine = self.engine
        run = self.runner.run

        def fail(batch: Seq[BatchItem]) -> StepResult:
            self.left -= 1
            if self.left >= 0:
                raise self.error
            return run(batch)

        self.runner.run = fail  # type: ignore[method-assign]
        self.engine.start()

    def end(self, reason: str) -> None:
        self.reasons.append(reason)
        self.ended.set()

    def ask(self, name: str) -> str | None:
        self.house.submit(name, max_tokens=2)
        return self.house.wait_for(name).finish_reason


def test_failures_that_are_not_in_a_row_do_not_end_the_engine() -> None:
    failing = Failing(RuntimeError("bad luck"), times=MAX_FAILURES_IN_A_ROW - 1)
    assert [failing.ask(f"r{i}") for i in range(4)] == ["error", "error", "length", "length"]
    failing.left = MAX_FAILURES_IN_A_ROW - 1
    assert [failing.ask(f"s{i}") for i in range(3)] == ["error", "error", "length"]
    assert failing.engine.is_alive
    failing.engine.stop()
    assert failing.reasons == []


def test_so_many_failures_in_a_row_end_the_engine_and_say_why() -> None:
    failing = Failing(RuntimeError("bad luck"), times=99)
    assert [failing.ask(f"r{i}") for i in range(MAX_FAILURES_IN_A_ROW)] == ["error"] * MAX_FAILURES_IN_A_ROW
    assert failing.ended.wait(5)
    assert not failing.engine.is_alive
    assert "RuntimeError: bad luck" in failing.reasons[0]
    with pytest.raises(EngineStopped, match="RuntimeError: bad luck"):
        failing.ask("late")


def test_a_lost_device_ends_the_engine_at_once_with_every_open_request() -> None:
    house = House(max_batch_size=1)
    failed = threading.Event()
    house.engine = Engine(house.config, house.runner, house.deliver, on_failure=lambda reason: failed.set())
    house.runner.fail_next = DeviceFailed("gone")
    house.submit("running")
    house.submit("waiting")
    house.engine.start()
    assert failed.wait(5)
    assert [house.last(name).finish_reason for name in ("running", "waiting")] == ["error", "error"]
    assert "DeviceFailed: gone" in (house.last("waiting").error or "")


def test_a_crash_of_the_thread_counts_as_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    failing = Failing(RuntimeError(), times=0)
    monkeypatch.setattr(failing.engine, "step", None)
    assert failing.ask("r") == "error"
    assert failing.ended.wait(5)
    assert "The engine crashed. TypeError" in failing.reasons[0]


def test_stopping_is_no_failure() -> None:
    failing = Failing(RuntimeError(), times=0)
    failing.engine.stop()
    assert (failing.reasons, failing.engine.failure) == ([], None)


def test_the_last_output_tells_where_the_time_went() -> None:
    class Slow(BlockRunner):
        def run(self, batch: Seq[BatchItem]) -> StepResult:
            time.sleep(0.02)
            return super().run(batch)

    house = House(runner=Slow(), max_batch_size=1)
    house.submit("first", tuple(range(20)), max_tokens=3)
    house.submit("second", max_tokens=2)
    house.steps(7)
    first, second = house.last("first").times, house.last("second").times
    assert first is not None
    assert second is not None
    assert all(output.times is None for output in house.outputs["first"][:-1])
    # 20 tokens in chunks of 8 take 3 steps; 2 more tokens take 2 more.
    assert first.queue < 0.02 <= 0.06 <= first.prefill < 0.5
    assert 0.04 <= first.decode < 0.5
    assert second.queue >= 0.1
    steps = house.engine.stats()
    assert first.compute + second.compute == pytest.approx(steps.step_seconds_total)
    assert steps.tokens_computed_total == 20 + 2 + 3 + 1


def test_sequences_of_a_step_share_its_time_by_their_tokens() -> None:
    house = House()
    house.submit("long", tuple(range(6)), max_tokens=1)
    house.submit("short", (1, 2), max_tokens=1)
    house.steps(1)
    long, short = house.last("long").times, house.last("short").times
    assert long is not None
    assert short is not None
    assert long.compute == pytest.approx(3 * short.compute)


def test_stats_predict_the_wait_of_the_next_request() -> None:
    house = House()
    assert house.engine.stats().predicted_wait_seconds == 0
    for number in range(CONFIG.max_batch_size + 2):
        house.submit(f"r{number}", max_tokens=9)
    house.steps(3)
    stats = house.engine.stats()
    assert (stats.running, stats.waiting) == (4, 2)
    assert stats.predicted_wait_seconds > 0


def test_stats_tell_the_speed_of_the_last_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.5
    monkeypatch.setattr(time, "monotonic", lambda: now)
    house = House()
    house.submit("r", max_tokens=20)
    house.steps(10)
    assert house.engine.stats().tokens_per_second == 0, "the second is not over yet"
    now += 1
    house.steps(5)
    assert house.engine.stats().tokens_per_second == 1.0
    now += 1
    assert house.engine.stats().tokens_per_second == 1.5
    now += 9
    assert house.engine.stats().tokens_per_second == 0.5
    now += 1
    assert house.engine.stats().tokens_per_second == 0


def test_a_shared_beginning_is_a_prefix_hit() -> None:
    house = House()
    request = GenerationRequest("a", tuple(range(10)), SamplingParams(max_tokens=1))
    house.engine.submit(request)
    house.steps(2)
    house.submit("b", tuple(range(10)), max_tokens=1)
    house.steps(2)
    stats = house.engine.stats()
    assert (stats.prefix_hits_total, stats.prefix_tokens_reused_total) == (1, 8)
