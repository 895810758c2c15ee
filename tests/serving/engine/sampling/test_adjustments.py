from __future__ import annotations

import ctypes
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from serving.engine.core import EngineConfig, GenerationRequest
from serving.engine.engine import Engine
from serving.engine.errors import InvalidRequest
from serving.engine.native.kernels.binding import Choice, load_library
from serving.engine.sampling.adjustments import Adjustments
from serving.engine.sampling.params import SamplingParams
from serving.engine.sampling.randomness import uniform
from serving.engine.sampling.sampler import Sampler, SamplingRow
from tests.serving.engine.conftest import REPOSITORY

VOCAB = 3000


def changes(params: SamplingParams, prompt: tuple[int, ...] = (), output: tuple[int, ...] = ()) -> Any:
    adjustments = Adjustments.of(params, prompt, end_ids={2})
    for token in output:
        assert adjustments is not None
        adjustments.follow(token)
    if adjustments is None:
        return None
    factors = [round(factor, 4) for factor in adjustments.factors]
    offsets = [round(offset, 4) for offset in adjustments.offsets]
    return dict(zip(adjustments.ids, zip(factors, offsets, strict=True), strict=True))


def test_parameters_that_change_nothing_cost_nothing() -> None:
    assert changes(SamplingParams(temperature=0.5, top_k=3, min_p=0.1), (1, 2)) is None


def test_presence_and_frequency_count_the_output_and_not_the_prompt() -> None:
    params = SamplingParams(presence_penalty=0.5, frequency_penalty=0.25)
    assert changes(params, (7, 8), (5, 6, 5)) == {5: (1, -1.0), 6: (1, -0.75)}


def test_repetition_counts_the_prompt_too_and_each_token_once() -> None:
    params = SamplingParams(repetition_penalty=1.5)
    assert changes(params, (7, 7, 8), (5, 5)) == {7: (1.5, 0), 8: (1.5, 0), 5: (1.5, 0)}


def test_bias_adds_to_the_penalties() -> None:
    params = SamplingParams(logit_bias={5: 3.0, 9: -100.0}, presence_penalty=1)
    assert changes(params, (), (5,)) == {5: (1, 2.0), 9: (1, -100.0)}


def test_ends_are_banned_until_min_tokens_have_come_and_keep_their_bias() -> None:
    params = SamplingParams(min_tokens=2, max_tokens=9, logit_bias={2: 1.5})
    assert changes(params, (), (5,))[2] == (1, -math.inf)
    assert changes(params, (), (5, 6))[2] == (1, 1.5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"min_p": 1.1}, {"presence_penalty": 2.5}, {"frequency_penalty": -2.1}, {"repetition_penalty": 0},
        {"repetition_penalty": math.inf}, {"logit_bias": {1: 101}}, {"min_tokens": 17}, {"min_tokens": -1},
        {"logprobs": 21}, {"prompt_logprobs": -1}, {"presence_penalty": math.nan},
    ],
)  # fmt: skip
def test_values_out_of_bounds_are_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match=next(iter(wrong)).removeprefix("prompt_")):
        SamplingParams(**wrong)


def row_of(params: SamplingParams, position: int, allowed: Any = None) -> SamplingRow:
    adjustments = Adjustments.of(params, range(0, VOCAB, 7), {2})
    for token in range(0, 300, 3):
        if adjustments is not None:
            adjustments.follow(token)
    draw = uniform(9, position)
    return SamplingRow(
        params.temperature, params.top_k, params.top_p, draw, params.min_p, adjustments, allowed
    )


def chosen_in_c(logits: Any, row: SamplingRow, position: int) -> int:
    library = load_library(Path(REPOSITORY / "var" / "kernels"))
    choice = Choice(9, position, row.temperature, row.top_p, row.min_p, row.top_k)
    if row.adjustments is not None:
        choice.adjusted, choice.ids = len(row.adjustments.ids), row.adjustments.ids.buffer_info()[0]
        choice.factors = row.adjustments.factors.buffer_info()[0]
        choice.offsets = row.adjustments.offsets.buffer_info()[0]
    if row.allowed is not None:
        choice.allowed = row.allowed.ctypes.data
    return int(library.choose(logits.ctypes.data, VOCAB, ctypes.byref(choice)))


@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(temperature=0, repetition_penalty=1.4, presence_penalty=1, frequency_penalty=0.1),
        SamplingParams(temperature=0.8, repetition_penalty=0.7, frequency_penalty=-0.5),
        SamplingParams(temperature=1.2, min_p=0.05, logit_bias={4: 8, 5: -8, 6: 100}),
        SamplingParams(temperature=0.9, min_p=0.01, top_k=20, top_p=0.8),
        SamplingParams(temperature=2.0, min_tokens=200, max_tokens=300, top_p=0.99),
    ],
)
def test_both_samplers_choose_the_same(params: SamplingParams) -> None:
    generator = np.random.default_rng(4)
    logits = (generator.normal(size=VOCAB) * 3).astype(np.float32)
    logits[2] = logits.max() + 5
    mask = generator.integers(-(2**31), 2**31, size=-(-VOCAB // 32), dtype=np.int32)
    rows = [row_of(params, position, mask if position % 2 else None) for position in range(40)]
    expected = Sampler()(torch.from_numpy(logits).expand(40, -1), rows)
    assert [chosen_in_c(logits, row, position) for position, row in enumerate(rows)] == expected
    assert all(mask[token // 32] >> (token % 32) & 1 for token in expected[1::2])
    if params.min_tokens:
        assert 2 not in expected


def test_when_nothing_may_come_something_is_chosen_and_nothing_breaks() -> None:
    logits = np.zeros(VOCAB, np.float32)
    nothing = np.zeros(-(-VOCAB // 32), np.int32)
    for temperature in (0.0, 1.0):
        row = row_of(SamplingParams(temperature=temperature), 1, nothing)
        assert chosen_in_c(logits, row, 1) == 0
        assert Sampler()(torch.from_numpy(logits)[None], [row]) == [0]


def generate(runner: Any, *requests: SamplingParams) -> list[list[int]]:
    tokens: dict[str, list[int]] = {str(index): [] for index in range(len(requests))}

    def receive(news: Any) -> None:
        for output in news:
            assert output.error is None, output.error
            tokens[output.request_id] += output.token_ids

    engine = Engine(EngineConfig(max_model_len=128, kv_blocks=32), runner, receive)
    for index, params in enumerate(requests):
        engine.submit(GenerationRequest(str(index), (3, 1, 4, 1, 5), params))
    while engine.stats().running + engine.stats().waiting:
        engine.step()
    return list(tokens.values())


def test_the_engine_follows_penalties_and_leaves_its_neighbours_alone(tiny_runner: Any) -> None:
    plain = SamplingParams(max_tokens=40, temperature=0)
    [alone] = generate(tiny_runner, plain)
    assert len(set(alone)) < 30, "left to itself it repeats itself"
    never_twice = SamplingParams(max_tokens=40, temperature=0, presence_penalty=2, frequency_penalty=2,
                                 repetition_penalty=50.0)  # fmt: skip
    biased = SamplingParams(max_tokens=5, temperature=0, logit_bias={42: 100})
    varied, forced, again = generate(tiny_runner, never_twice, biased, plain)
    assert len({*varied, 3, 1, 4, 5}) == 44
    assert forced == [42] * 5
    assert again[:5] == alone[:5]


def test_min_tokens_keeps_an_answer_going_that_would_stop_at_once(tiny_runner: Any) -> None:
    ends: dict[str, Any] = {"stop_token_ids": (42,), "logit_bias": {42: 100}, "temperature": 0}
    stopped, kept = generate(
        tiny_runner, SamplingParams(max_tokens=9, **ends), SamplingParams(max_tokens=9, min_tokens=4, **ends)
    )
    assert (stopped, len(kept)) == ([], 4)
    assert 42 not in kept


@pytest.mark.parametrize("wrong", [{"logit_bias": {97: 1.0}}, {"stop_token_ids": (-1,)}])
def test_ids_that_the_model_does_not_have_are_refused(tiny_runner: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match="from 0 to 96"):
        generate(tiny_runner, SamplingParams(**wrong))
