from __future__ import annotations

from collections.abc import Sequence as Seq
from dataclasses import replace

from serving.engine.core import BatchItem, EngineConfig, GenerationRequest, Sequence
from serving.engine.kv_cache import KVCache
from serving.engine.sampling.params import SamplingParams
from serving.engine.scheduler import Scheduler

CONFIG = EngineConfig(max_model_len=1000, kv_blocks=64, block_size=4, max_batch_size=4, prefill_chunk=8)


def scheduler(**changes: int) -> Scheduler:
    config = replace(CONFIG, **changes)
    return Scheduler(config, KVCache(config.kv_blocks, config.block_size))


def sequence(name: str, length: int, owner: str = "", priority: int = 0) -> Sequence:
    prompt = tuple((sum(name.encode()) * 37 + index) % 1000 for index in range(length))
    return Sequence(
        GenerationRequest(name, prompt, SamplingParams(), owner, priority=priority), 0, list(prompt)
    )


def step(scheduler: Scheduler) -> list[tuple[str, int, int]]:
    """Schedule and "compute" one batch; what was in it as (id, start, length)."""
    batch = scheduler.schedule()
    scheduler.advance(batch, [7] * sum(item.samples for item in batch))
    return [(item.sequence.request_id, item.start, item.length) for item in batch]


def ids(batch: Seq[BatchItem]) -> list[str]:
    return [item.sequence.request_id for item in batch]


def test_a_long_prompt_is_computed_in_chunks_and_samples_at_its_end_only() -> None:
    plan = scheduler()
    plan.add(sequence("long", 20))
    assert [step(plan) for _ in range(4)] == [
        [("long", 0, 8)],
        [("long", 8, 8)],
        [("long", 16, 4)],
        [("long", 20, 1)],
    ]


def test_running_sequences_decode_in_every_step_of_a_long_prefill() -> None:
    plan = scheduler()
    plan.add(sequence("short", 3))
    step(plan)
    plan.add(sequence("long", 16))
    assert step(plan) == [("short", 3, 1), ("long", 0, 8)]
    assert step(plan) == [("short", 4, 1), ("long", 8, 8)]


def test_a_short_prompt_does_not_wait_for_the_end_of_a_long_one() -> None:
    plan = scheduler()
    plan.add(sequence("long", 40))
    assert step(plan) == [("long", 0, 8)]
    plan.add(sequence("short", 3))
    assert step(plan) == [("long", 8, 5), ("short", 0, 3)]
    assert step(plan) == [("short", 3, 1), ("long", 13, 8)]


def test_short_prompts_without_end_leave_half_of_each_step_to_the_first() -> None:
    plan = scheduler()
    plan.add(sequence("long", 20))
    step(plan)
    for number in range(3):
        new = sequence(f"short{number}", 6)
        plan.add(new)
        assert ("long", 8 + 4 * number, 4) in step(plan)
        plan.remove(new)


def test_sequences_join_up_to_the_batch_size_and_the_next_when_one_leaves() -> None:
    plan = scheduler(max_batch_size=2)
    a, b, c = (sequence(name, 2) for name in "abc")
    for new in (a, b, c):
        plan.add(new)
    assert ids(plan.schedule()) == ["a", "b"]
    plan.remove(a)
    assert ids(plan.schedule()) == ["b", "c"]


def test_a_sequence_waits_until_there_are_blocks_for_all_its_tokens() -> None:
    plan = scheduler(kv_blocks=4)
    first, second = sequence("first", 12), sequence("second", 8)
    plan.add(first)
    plan.add(second)
    assert step(plan) == [("first", 0, 8)]
    plan.remove(first)
    assert step(plan) == [("second", 0, 8)]


def test_the_youngest_gives_way_when_blocks_run_out_and_keeps_its_tokens() -> None:
    plan = scheduler(kv_blocks=4)
    old, young = sequence("old", 8), sequence("young", 7)
    plan.add(old)
    plan.add(young)
    for _ in range(2):
        step(plan)
    kept = list(young.token_ids)
    while plan.preemptions == 0:
        step(plan)
        kept = kept if plan.preemptions else list(young.token_ids)
    assert (plan.running, list(plan.waiting)) == ([old], [young])
    assert (young.token_ids, young.block_table, young.num_computed) == (kept, [], 0)
    plan.remove(old)
    batch = plan.schedule()
    assert ids(batch) == ["young"]
    assert batch[0].start + batch[0].length <= len(kept)


def test_owners_take_turns_whatever_the_length_of_their_lines() -> None:
    plan = scheduler(max_batch_size=1)
    for number in range(3):
        plan.add(sequence(f"a{number}", 2, owner="a"))
    plan.add(sequence("b0", 2, owner="b"))
    order = []
    while plan.waiting or plan.running:
        plan.schedule()
        order.append(plan.running[0].request_id)
        plan.remove(plan.running[0])
    assert order == ["a0", "b0", "a1", "a2"]


def test_an_owner_who_fills_the_batch_yields_a_place_to_one_who_has_none() -> None:
    plan = scheduler()
    for number in range(10):
        plan.add(sequence(f"a{number}", 2, owner="a"))
    step(plan)
    plan.add(sequence("b0", 2, owner="b"))
    assert "b0" in [name for name, _, _ in step(plan)]
    assert [s.request_id for s in plan.running] == ["a0", "a1", "a2", "b0"]
    assert next(iter(plan.waiting)).request_id == "a3", "the preempted one is first in its line"


def test_shares_that_are_as_equal_as_can_be_are_left_alone() -> None:
    plan = scheduler(max_batch_size=3)
    for number in range(5):
        plan.add(sequence(f"a{number}", 2, owner="a"))
        plan.add(sequence(f"b{number}", 2, owner="b"))
    for _ in range(10):
        step(plan)
    assert plan.preemptions == 0


def test_a_higher_priority_is_admitted_first_and_the_lower_when_none_waits() -> None:
    plan = scheduler(max_batch_size=1)
    plan.add(sequence("batch", 2, priority=-1))
    plan.add(sequence("asked", 2))
    assert ids(plan.schedule()) == ["asked"]
    plan.remove(plan.running[0])
    assert ids(plan.schedule()) == ["batch"]


def test_a_full_batch_of_a_lower_priority_yields_at_once_youngest_first() -> None:
    plan = scheduler(max_batch_size=2)
    for name in "abc":
        plan.add(sequence(name, 2, owner="a", priority=-1))
    step(plan)
    plan.add(sequence("asked", 2, owner="a"))
    assert [name for name, _, _ in step(plan)] == ["a", "asked"]
    assert [s.request_id for s in plan.waiting] == ["b", "c"]
    plan.add(sequence("more", 2, owner="a"))
    assert [name for name, _, _ in step(plan)] == ["asked", "more"]
    assert plan.preemptions == 2
    plan.add(sequence("late", 2, owner="b", priority=-1))
    assert ids(plan.schedule()) == ["asked", "more"], "nothing of a lower priority takes a place back"


def test_a_higher_priority_gets_the_prompts_share_before_a_lower_that_came_first() -> None:
    plan = scheduler()
    plan.add(sequence("batch", 20, priority=-1))
    step(plan)
    plan.add(sequence("asked", 12))
    assert step(plan) == [("asked", 0, 8)]
    assert step(plan) == [("asked", 8, 4), ("batch", 8, 4)]


def test_a_lower_priority_gives_its_blocks_to_a_higher_that_grows() -> None:
    plan = scheduler(kv_blocks=4)
    asked, batch = sequence("asked", 7), sequence("batch", 7, priority=-1)
    plan.add(batch)
    plan.add(asked)
    while not plan.preemptions:
        step(plan)
    assert (plan.running, list(plan.waiting)) == ([asked], [batch])
