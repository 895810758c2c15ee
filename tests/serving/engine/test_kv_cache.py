from __future__ import annotations

from collections.abc import Sequence as Seq

import pytest

from serving.engine.core import GenerationRequest, Sequence
from serving.engine.kv_cache import KVCache
from serving.engine.sampling.params import SamplingParams


def sequence(tokens: Seq[int]) -> Sequence:
    return Sequence(GenerationRequest("r", tuple(tokens), SamplingParams()), 0, list(tokens))


def computed(cache: KVCache, tokens: Seq[int]) -> Sequence:
    """A sequence whose tokens have all been computed and published."""
    made = sequence(tokens)
    assert cache.admit(made)
    first, made.num_computed = made.num_computed, len(tokens)
    cache.publish(made, first)
    return made


def test_admission_takes_just_enough_blocks_and_release_gives_them_back() -> None:
    cache = KVCache(num_blocks=8, block_size=4)
    held = sequence(range(9))
    assert cache.admit(held)
    assert (len(held.block_table), cache.num_used) == (3, 3)
    cache.check_integrity([held])
    cache.release(held)
    assert (held.block_table, cache.num_used) == ([], 0)
    cache.check_integrity([])


def test_admission_without_enough_blocks_changes_nothing() -> None:
    cache = KVCache(num_blocks=2, block_size=4)
    refused = sequence(range(9))
    assert not cache.admit(refused)
    assert (refused.block_table, cache.num_free) == ([], 2)


def test_growing_takes_a_block_only_when_the_last_one_is_full() -> None:
    cache = KVCache(num_blocks=2, block_size=4)
    held = sequence(range(4))
    assert cache.admit(held)
    assert cache.grow(held)
    assert len(held.block_table) == 1
    held.token_ids.append(4)
    assert cache.grow(held)
    assert len(held.block_table) == 2
    held.token_ids += range(5, 9)
    assert not cache.grow(held)
    cache.check_integrity([held])


def test_a_common_beginning_is_computed_once() -> None:
    cache = KVCache(num_blocks=8, block_size=4)
    first = computed(cache, [*range(8), 50, 51])
    second = sequence([*range(8), 60, 61])
    assert cache.admit(second)
    assert second.num_computed == 8
    assert second.block_table[:2] == first.block_table[:2]
    assert second.block_table[2] != first.block_table[2]
    assert cache.prefix_tokens_reused == 8
    cache.check_integrity([first, second])


def test_blocks_nobody_holds_are_found_again_until_they_are_needed() -> None:
    cache = KVCache(num_blocks=3, block_size=4)
    cache.release(computed(cache, range(9)))
    again = sequence(range(9))
    assert cache.admit(again)
    assert again.num_computed == 8
    cache.release(again)
    other = sequence(range(100, 112))
    assert cache.admit(other)
    cache.release(other)
    forgotten = sequence(range(9))
    assert cache.admit(forgotten)
    assert forgotten.num_computed == 0
    cache.check_integrity([forgotten])


def test_blocks_that_hold_nothing_useful_are_used_up_first() -> None:
    cache = KVCache(num_blocks=3, block_size=4)
    cache.release(computed(cache, range(4)))
    unpublished = sequence(range(50, 58))
    assert cache.admit(unpublished)
    cache.release(unpublished)
    assert cache.admit(sequence(range(60, 64)))
    assert cache.admit(again := sequence(range(5)))
    assert again.num_computed == 4, "the published block was still there"


def test_the_last_token_is_never_taken_from_the_cache_because_its_logits_are_needed() -> None:
    cache = KVCache(num_blocks=8, block_size=4)
    computed(cache, range(8))
    same = sequence(range(8))
    assert cache.admit(same)
    assert same.num_computed == 4


def test_the_same_block_after_another_beginning_is_another_block() -> None:
    cache = KVCache(num_blocks=8, block_size=4)
    computed(cache, [1, 1, 1, 1, 7, 7, 7, 7])
    other = sequence([2, 2, 2, 2, 7, 7, 7, 7, 9])
    assert cache.admit(other)
    assert other.num_computed == 0


def test_two_that_computed_the_same_at_once_both_lead_on_to_shared_blocks() -> None:
    cache = KVCache(num_blocks=12, block_size=4)
    twins = [sequence(range(9)), sequence(range(9))]
    assert all(cache.admit(twin) for twin in twins)
    for twin in twins:
        twin.num_computed = 8
        cache.publish(twin, 0)
    cache.release(twins[0])
    third = sequence(range(9))
    assert cache.admit(third)
    assert third.num_computed == 8
    cache.check_integrity([twins[1], third])


def test_integrity_check_sees_a_block_given_to_two() -> None:
    cache = KVCache(num_blocks=4, block_size=4)
    held = sequence(range(4))
    assert cache.admit(held)
    thief = sequence(range(4))
    thief.block_table = list(held.block_table)
    with pytest.raises(AssertionError, match="reference counts"):
        cache.check_integrity([held, thief])
