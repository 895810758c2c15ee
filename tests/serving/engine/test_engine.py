from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from serving.engine.core import GenerationRequest, SequenceOutput
from serving.engine.engine import Engine
from serving.engine.errors import ContextLengthExceeded, EngineStopped, InvalidRequest, QueueFull
from serving.engine.sampling.params import SamplingParams
from tests.serving.engine.fakes import CONFIG, VOCAB, BlockRunner, House, continuation, next_token


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture
def live() -> Iterator[House]:
    house = House()
    house.engine.start()
    yield house
    house.engine.stop()


def test_a_request_gets_its_tokens_one_per_step_and_ends_at_max_tokens(house: House) -> None:
    house.submit("r")
    house.steps(5)
    assert [output.token_ids for output in house.outputs["r"]] == [
        (token,) for token in continuation((1, 2, 3), 5)
    ]
    assert [output.completion_tokens for output in house.outputs["r"]] == [1, 2, 3, 4, 5]
    assert (house.last("r").finish_reason, house.last("r").prompt_tokens) == ("length", 3)
    assert house.engine.stats().kv_blocks_used == 0


def test_eos_ends_a_request_and_is_counted_but_not_delivered() -> None:
    expected = continuation((1, 2, 3), 3)
    house = House(eos=frozenset([expected[2]]))
    house.submit("r")
    house.steps(3)
    assert house.tokens("r") == expected[:2]
    assert (house.last("r").finish_reason, house.last("r").completion_tokens) == ("stop", 3)


def test_ignore_eos_goes_on_and_delivers_it() -> None:
    expected = continuation((1, 2, 3), 5)
    house = House(eos=frozenset([expected[2]]))
    house.submit("r", ignore_eos=True)
    house.steps(5)
    assert house.tokens("r") == expected
    assert house.last("r").finish_reason == "length"


def test_stop_token_ids_end_a_request_even_with_ignore_eos(house: House) -> None:
    expected = continuation((1, 2, 3), 3)
    house.submit("r", stop_token_ids=(expected[1],), ignore_eos=True)
    house.steps(2)
    assert house.tokens("r") == expected[:1]
    assert house.last("r").finish_reason == "stop"


def test_all_news_of_a_step_come_in_one_delivery() -> None:
    deliveries: list[list[SequenceOutput]] = []
    engine = Engine(CONFIG, BlockRunner(), deliveries.append)
    for name in "abc":
        engine.submit(GenerationRequest(name, (1, 2), SamplingParams(max_tokens=2)))
    engine.step()
    engine.step()
    assert [sorted(output.request_id for output in news) for news in deliveries] == [["a", "b", "c"]] * 2


def test_an_abort_ends_within_one_step_with_the_exact_count(house: House) -> None:
    house.submit("r")
    house.steps(2)
    house.engine.abort("r")
    house.steps(1)
    assert (house.last("r").finish_reason, house.last("r").completion_tokens) == ("abort", 2)
    assert house.tokens("r") == continuation((1, 2, 3), 2)
    assert house.engine.stats().kv_blocks_used == 0


def test_an_abort_before_the_first_step_generates_nothing(house: House) -> None:
    house.submit("r")
    house.engine.abort("r")
    house.steps(1)
    assert (house.last("r").finish_reason, house.last("r").completion_tokens) == ("abort", 0)
    assert house.runner.batches == []


def test_aborting_what_is_unknown_or_over_does_nothing(house: House) -> None:
    house.engine.abort("nobody")
    house.submit("r", max_tokens=1)
    house.steps(1)
    house.engine.abort("r")
    house.steps(1)
    assert len(house.outputs["r"]) == 1
    house.submit("r", max_tokens=1)
    house.steps(1)
    assert house.last("r").finish_reason == "length", "an id may be used again"


def test_a_failing_step_fails_its_batch_alone_and_the_engine_goes_on(house: House) -> None:
    house.submit("bad")
    house.steps(1)
    house.runner.fail_next = RuntimeError("out of luck")
    house.steps(1)
    assert house.last("bad").finish_reason == "error"
    assert "RuntimeError: out of luck" in (house.last("bad").error or "")
    assert house.last("bad").completion_tokens == 1
    assert house.engine.stats().kv_blocks_used == 0
    house.submit("good")
    house.steps(5)
    assert house.tokens("good") == continuation((1, 2, 3), 5)


def test_a_full_house_of_batch_lines_keeps_nobody_waiting() -> None:
    house = House(max_batch_size=2)
    for name in ("line 0", "line 1"):
        house.submit(name, priority=-1, max_tokens=20)
    with pytest.raises(QueueFull):
        house.submit("line 2", priority=-1)
    house.steps(3)
    for name in ("asked 0", "asked 1"):
        house.submit(name)
    house.steps(1)
    assert [len(house.tokens(f"asked {number}")) for number in (0, 1)] == [1, 1], "in the very next step"
    house.steps(40)
    for name, length in (("asked 0", 5), ("asked 1", 5), ("line 0", 20), ("line 1", 20)):
        assert house.tokens(name) == continuation((1, 2, 3), length)


def test_a_failing_receiver_does_not_stop_the_engine() -> None:
    def fail(outputs: list[SequenceOutput]) -> None:
        raise RuntimeError("the receiver is gone")

    engine = Engine(CONFIG, BlockRunner(), fail)
    engine.submit(GenerationRequest("r", (1,), SamplingParams(max_tokens=2)))
    engine.step()
    engine.step()
    assert engine.stats().tokens_generated_total == 2


def test_preempted_requests_lose_nothing_and_repeat_nothing() -> None:
    house = House(kv_blocks=6)
    prompts = {f"r{number}": tuple(range(number * 10, number * 10 + 6)) for number in range(4)}
    for name, prompt in prompts.items():
        house.submit(name, prompt, max_tokens=12)
    house.steps(100)
    assert house.engine.stats().preemptions_total > 0
    for name, prompt in prompts.items():
        assert house.tokens(name) == continuation(prompt, 12)
        assert house.last(name).completion_tokens == 12


def test_a_full_queue_refuses_with_a_predicted_wait(house: House) -> None:
    for number in range(CONFIG.max_batch_size + CONFIG.max_waiting):
        house.submit(f"r{number}")
    with pytest.raises(QueueFull) as refusal:
        house.submit("one too many")
    assert 1 <= refusal.value.retry_after <= 120
    house.steps(5)
    house.submit("now there is room")


@pytest.mark.parametrize(
    ("prompt", "params", "error", "says"),
    [
        ((), {}, InvalidRequest, "at least one token"),
        ((VOCAB,), {}, InvalidRequest, "from 0 to 999"),
        ((-1,), {}, InvalidRequest, "from 0 to 999"),
        ((1,) * 90, {"max_tokens": 11}, ContextLengthExceeded, "100 tokens, but 90 of prompt and 11"),
        ((1,), {"max_tokens": 0}, InvalidRequest, "max_tokens"),
        ((1,), {"temperature": -0.1}, InvalidRequest, "temperature"),
        ((1,), {"temperature": float("nan")}, InvalidRequest, "temperature"),
        ((1,), {"top_p": 0.0}, InvalidRequest, "top_p"),
        ((1,), {"top_k": -1}, InvalidRequest, "top_k"),
    ],
)
def test_what_cannot_be_run_is_refused_at_once(
    house: House, prompt: tuple[int, ...], params: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        house.submit("r", prompt, **params)
    house.steps(1)
    assert house.runner.batches == []


def test_what_cannot_fit_the_cache_is_refused_at_once() -> None:
    with pytest.raises(ContextLengthExceeded, match="16 tokens"):
        House(kv_blocks=4).submit("r", tuple(range(12)))


def test_a_request_id_that_is_running_is_refused(house: House) -> None:
    house.submit("r")
    with pytest.raises(InvalidRequest, match="already running"):
        house.submit("r")


def test_another_owner_is_served_within_two_steps_of_a_flood() -> None:
    house = House(max_waiting=120)
    for number in range(100):
        house.submit(f"flood{number}", owner="greedy", max_tokens=50)
    house.steps(3)
    house.submit("single", owner="modest", max_tokens=1)
    house.steps(2)
    assert house.last("single").finish_reason == "length"


def test_owners_share_the_steps_whatever_the_number_of_their_requests() -> None:
    house = House(max_waiting=120, kv_blocks=64)
    for number in range(100):
        house.submit(f"flood{number}", owner="greedy", max_tokens=20)
    house.steps(3)
    house.submit("single", owner="modest", max_tokens=20)
    house.steps(21)
    assert house.tokens("single") == continuation((1, 2, 3), 20), "as soon as if it were alone"


def test_nobody_can_fill_the_queue_against_all_others() -> None:
    house = House(max_waiting=16)
    for number in range(18):
        house.submit(f"flood{number}", owner="greedy")
    with pytest.raises(QueueFull):
        house.submit("one more", owner="greedy")
    house.submit("b", owner="b")
    with pytest.raises(QueueFull):
        house.submit("b again", owner="b")
    house.submit("c", owner="c")
    with pytest.raises(QueueFull):
        house.submit("d", owner="d")


def test_a_short_prompt_has_its_first_token_after_two_steps_while_16_decode() -> None:
    house = House(max_batch_size=32, kv_blocks=400, prefill_chunk=64)
    for number in range(16):
        house.submit(f"decoding{number}", max_tokens=60)
    house.steps(5)
    house.submit("short", (9, 8, 7))
    house.steps(1)  # besides the step that may have been under way
    assert house.tokens("short") == continuation((9, 8, 7), 1)
    assert [len(house.tokens(f"decoding{number}")) for number in range(16)] == [6] * 16


def test_a_long_prompt_stalls_nobody_by_more_than_one_chunk() -> None:
    house = House(max_batch_size=32, kv_blocks=400)
    house.submit("decoding", max_tokens=60)
    house.steps(2)
    house.submit("long", tuple(range(80)), max_tokens=1)
    house.steps(1)
    house.submit("short", (9, 8, 7))
    house.steps(1)
    assert house.tokens("short") == continuation((9, 8, 7), 1)
    assert len(house.tokens("decoding")) == 4
    assert all(sum(length for _, _, length in batch) <= 8 + 2 for batch in house.runner.batches)
    house.steps(20)
    assert house.tokens("long") == continuation(range(80), 1)


def test_the_thread_serves_requests_of_many_threads(live: House) -> None:
    def ask(number: int) -> None:
        live.submit(f"r{number}", (number, 1, 2), max_tokens=8)

    askers = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    for number in range(8):
        live.wait_for(f"r{number}")
        assert live.tokens(f"r{number}") == continuation((number, 1, 2), 8)


def test_an_idle_engine_takes_no_steps_and_no_time(live: House) -> None:
    live.submit("r")
    live.wait_for("r")
    steps, cpu = live.engine.stats().steps_total, time.process_time()
    time.sleep(0.3)
    assert live.engine.stats().steps_total == steps
    assert time.process_time() - cpu < 0.15


def test_stopping_ends_every_open_request_with_an_error() -> None:
    house = House()
    house.engine.start()
    for number in range(6):
        house.submit(f"r{number}", max_tokens=90, ignore_eos=True)
    house.engine.stop()
    for number in range(6):
        assert house.last(f"r{number}").finish_reason in ("error", "length")
    assert not [thread for thread in threading.enumerate() if thread.name == "engine-fake"]
    with pytest.raises(EngineStopped):
        house.submit("late")


def test_a_crash_of_the_thread_itself_is_seen_and_ends_every_request(
    live: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive = [live.engine.is_alive]
    crashed = threading.Event()
    monkeypatch.setattr(threading, "excepthook", lambda _: crashed.set())
    monkeypatch.setattr(live.engine, "step", None)
    live.submit("r")
    assert live.wait_for("r").finish_reason == "error"
    assert crashed.wait(5)
    alive.append(live.engine.is_alive)
    assert alive == [True, False]
    with pytest.raises(EngineStopped):
        live.submit("late")


def test_stopping_an_engine_that_never_started_also_ends_its_requests(house: House) -> None:
    house.submit("r")
    house.engine.stop()
    assert (house.last("r").finish_reason, house.last("r").error) == ("error", "The engine was stopped.")


class RandomTraffic(RuleBasedStateMachine):
    """Submit, abort, step and fail in any order, in a cache so small that preemption is common."""

    def __init__(self) -> None:
        super().__init__()
        self.house = House(eos=frozenset(range(0, VOCAB, 25)), kv_blocks=9, max_waiting=8)
        self.prompts: dict[str, tuple[int, ...]] = {}
        self.failed_steps = 0

    @rule(
        # Few different beginnings, so that prefixes are shared.
        beginning=st.sampled_from([(), (5,) * 4, (5,) * 8, (6,) * 4]),
        rest=st.lists(st.integers(0, 3), min_size=1, max_size=6),
        max_tokens=st.integers(1, 20),
        owner=st.sampled_from("abc"),
    )
    def submit(self, beginning: tuple[int, ...], rest: list[int], max_tokens: int, owner: str) -> None:
        name = f"r{len(self.prompts)}"
        try:
            self.house.submit(name, (*beginning, *rest), owner, max_tokens=max_tokens)
        except QueueFull:
            return
        self.prompts[name] = (*beginning, *rest)

    @rule(number=st.integers(0, 50))
    def abort(self, number: int) -> None:
        self.house.engine.abort(f"r{number}")

    @rule(count=st.integers(1, 5))
    def steps(self, count: int) -> None:
        self.house.steps(count)

    @rule()
    def fail(self) -> None:
        self.house.runner.fail_next = RuntimeError("chance")
        self.house.steps(1)

    @invariant()
    def the_books_balance(self) -> None:
        self.house.engine.check_integrity()

    def teardown(self) -> None:
        self.house.runner.fail_next = None
        self.house.steps(400)
        assert self.house.engine.stats().kv_blocks_used == 0
        for name, prompt in self.prompts.items():
            self.check_output(name, prompt)

    def check_output(self, name: str, prompt: tuple[int, ...]) -> None:
        outputs, last = self.house.outputs[name], self.house.last(name)
        assert [output.finish_reason is None for output in outputs] == [True] * (len(outputs) - 1) + [False]
        delivered = self.house.tokens(name)
        assert delivered == continuation(prompt, len(delivered))
        assert last.completion_tokens == len(delivered) + (last.finish_reason == "stop")
        if last.finish_reason == "stop":
            assert next_token([*prompt, *delivered]) % 25 == 0


@settings(max_examples=2, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_the_books_balance_after_each_of_10_000_operations_on_one_engine(seed: int) -> None:
    """Long enough for the cache to be full, shared, emptied and forgotten many times over."""
    chance, traffic = random.Random(seed), RandomTraffic()
    for _ in range(10_000):
        match chance.randrange(8):
            case 0 | 1 | 2:
                beginning = chance.choice([(), (5,) * 4, (5,) * 8, (6,) * 4])
                rest = [chance.randrange(4) for _ in range(chance.randint(1, 6))]
                traffic.submit(beginning, rest, chance.randint(1, 20), chance.choice("abc"))
            case 3:
                traffic.house.engine.abort(f"r{len(traffic.prompts) - chance.randint(1, 12)}")
            case 4 if chance.random() < 0.05:
                traffic.house.runner.fail_next = RuntimeError("chance")
            case _:
                traffic.house.engine.step()
        traffic.house.engine.check_integrity()
    traffic.teardown()
    assert traffic.house.engine.stats().preemptions_total > 100
    assert traffic.house.engine.stats().prefix_hits_total > 100


TestRandomTraffic = RandomTraffic.TestCase
TestRandomTraffic.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
