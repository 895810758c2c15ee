from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apikeys.usage.sketches import ACCURACY, Sketch, sketch_of

VALUES = st.lists(st.integers(0, 2**31), min_size=1, max_size=200)


@given(VALUES, st.sampled_from([1, 50, 95, 99, 100]))
def test_a_percentile_is_near_a_value_that_was_there(values: list[int], percent: int) -> None:
    exact = sorted(values)[math.ceil(len(values) * percent / 100) - 1]
    told = sketch_of(values).percentile(percent)
    assert told is not None
    assert abs(told - exact) <= ACCURACY * exact * 1.0001 + 0.5


@given(VALUES, VALUES, VALUES)
def test_merging_in_any_order_is_having_seen_everything(a: list[int], b: list[int], c: list[int]) -> None:
    whole = sketch_of(a + b + c)
    one, other = sketch_of(a), sketch_of(c)
    one.merge(sketch_of(b))
    one.merge(sketch_of(c))
    other.merge_packed(sketch_of(b).pack() + sketch_of(a).pack())
    assert one.pack() == other.pack() == whole.pack()
    assert len(one) == len(a) + len(b) + len(c)


@given(VALUES)
def test_packing_loses_nothing(values: list[int]) -> None:
    sketch = sketch_of(values)
    assert Sketch(sketch.pack()).pack() == sketch.pack()


@pytest.mark.parametrize("value", range(51))
def test_small_values_are_exact(value: int) -> None:
    assert sketch_of([value]).percentile(50) == value


def test_an_empty_one_tells_nothing() -> None:
    assert Sketch().percentile(50) is None
    assert Sketch().pack() == b""


def test_a_day_of_anything_fits_in_a_few_kilobytes() -> None:
    assert len(sketch_of(range(0, 3_600_000, 37)).pack()) < 6000
