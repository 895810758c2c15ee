from __future__ import annotations

from collections import Counter

import pytest
import torch

from serving.engine.sampling import sampler
from serving.engine.sampling.randomness import uniform
from serving.engine.sampling.sampler import Sampler, SamplingRow

PROBABILITIES = [0.1, 0.4, 0.05, 0.3, 0.15]
LOGITS = torch.tensor(PROBABILITIES).log()


def row(draw: float = 0.0, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> SamplingRow:
    return SamplingRow(temperature, top_k, top_p, draw)


def draw_many(temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> Counter[int]:
    """How often each token comes in 4000 rows that differ in the draw only."""
    rows = [row(uniform(1, position), temperature, top_k, top_p) for position in range(4000)]
    return Counter(Sampler()(LOGITS.expand(4000, -1), rows))


def test_temperature_zero_takes_the_most_probable_and_the_lowest_id_of_equals() -> None:
    logits = torch.tensor([[0.0, 2.0, 1.0], [3.0, 1.0, 3.0]])
    assert Sampler()(logits, [row(temperature=0), row(temperature=0)]) == [1, 0]


def test_the_draw_walks_the_tokens_from_the_most_to_the_least_probable() -> None:
    draws = [0.0, 0.39, 0.41, 0.69, 0.71, 0.84, 0.86, 0.94, 0.96, 1 - 2**-53]
    tokens = Sampler()(LOGITS.expand(len(draws), -1), [row(draw) for draw in draws])
    assert tokens == [1, 1, 3, 3, 4, 4, 0, 0, 2, 2]


def test_equally_probable_tokens_are_walked_by_id() -> None:
    draws = [0.1, 0.3, 0.6, 0.9]
    tokens = Sampler()(torch.zeros(4, 4), [row(draw) for draw in draws])
    assert tokens == [0, 1, 2, 3]


def test_frequencies_follow_the_probabilities() -> None:
    counts = draw_many()
    for token, probability in enumerate(PROBABILITIES):
        assert counts[token] / 4000 == pytest.approx(probability, abs=0.03)


def test_a_lower_temperature_sharpens() -> None:
    squared = [p**2 for p in PROBABILITIES]
    counts = draw_many(temperature=0.5)
    for token, weight in enumerate(squared):
        assert counts[token] / 4000 == pytest.approx(weight / sum(squared), abs=0.03)


@pytest.mark.parametrize(("top_k", "kept"), [(1, {1}), (2, {1, 3}), (4, {1, 3, 4, 0}), (99, set(range(5)))])
def test_top_k_keeps_the_first_k(top_k: int, kept: set[int]) -> None:
    assert set(draw_many(top_k=top_k)) == kept


@pytest.mark.parametrize(
    ("top_p", "kept"), [(0.01, {1}), (0.39, {1}), (0.41, {1, 3}), (0.8, {1, 3, 4}), (1.0, set(range(5)))]
)
def test_top_p_keeps_the_fewest_that_reach_p(top_p: float, kept: set[int]) -> None:
    assert set(draw_many(top_p=top_p)) == kept


def test_top_p_counts_in_what_top_k_left() -> None:
    # Of the first two, 0.4 / 0.7 = 0.57 alone reaches 0.5; without top_k it would take both.
    assert set(draw_many(top_k=2, top_p=0.5)) == {1}
    assert set(draw_many(top_p=0.5)) == {1, 3}


def test_a_row_is_drawn_the_same_whatever_else_is_in_the_batch() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(16, 5000, generator=generator) * 3
    rows = [
        row(uniform(i, 9), temperature=(i % 4) / 2, top_k=(i % 3) * 50, top_p=1 - i / 40) for i in range(16)
    ]
    together = Sampler()(logits, rows)
    alone = [Sampler()(logits[i : i + 1], rows[i : i + 1])[0] for i in range(16)]
    backwards = Sampler()(logits.flip(0), rows[::-1])[::-1]
    assert together == alone == backwards


def test_half_precision_logits_and_extreme_ones_work() -> None:
    logits = torch.tensor([[1e4, -1e4, float("-inf"), 0.0]], dtype=torch.bfloat16)
    assert Sampler()(logits, [row(0.99, temperature=0.01)]) == [0]
    assert Sampler()(logits, [row(0.99, temperature=100.0)]) == [0]


@pytest.mark.parametrize("top_k", [0, 3, 40, 2000])
@pytest.mark.parametrize("top_p", [0.3, 0.9, 1.0])
@pytest.mark.parametrize("spread", [0.1, 1.0, 4.0])
def test_looking_at_the_most_probable_first_changes_no_draw(
    top_k: int, top_p: float, spread: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(top_k)
    # Rounded, so that equals are everywhere, also across the edge of what is looked at first.
    logits = (torch.randn(200, 3000, generator=generator) * spread * 4).round() / 4
    rows = [row(uniform(5, position), 0.8, top_k, top_p) for position in range(200)]
    monkeypatch.setattr(sampler, "_HEAD", 3000)
    looking_at_all = Sampler()(logits, rows)
    monkeypatch.setattr(sampler, "_HEAD", 100)
    assert Sampler()(logits, rows) == looking_at_all
