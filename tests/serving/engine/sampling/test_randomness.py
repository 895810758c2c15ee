import itertools
from statistics import fmean

from serving.engine.sampling.randomness import fresh_seed, uniform


def test_the_function_is_pinned_because_native_kernels_compute_the_same() -> None:
    # 0xE220A8397B1DCDAF is the published first output of splitmix64 seeded with 0.
    assert uniform(0, 0) == (0xE220A8397B1DCDAF >> 11) * 2.0**-53
    assert uniform(42, 7) == 0.3775087029941271


def test_negative_and_huge_seeds_count_modulo_two_to_the_64() -> None:
    assert uniform(-1, 3) == uniform(2**64 - 1, 3)
    assert uniform(2**64 + 5, 3) == uniform(5, 3)


def test_neighbouring_positions_and_seeds_look_independent() -> None:
    along = [uniform(1, position) for position in range(4000)]
    across = [uniform(seed, 1) for seed in range(4000)]
    for draws in (along, across):
        assert abs(fmean(draws) - 0.5) < 0.02
        assert abs(fmean(a * b for a, b in itertools.pairwise(draws)) - 0.25) < 0.02
        assert all(0 <= draw < 1 for draw in draws)


def test_fresh_seeds_differ() -> None:
    assert len({fresh_seed() for _ in range(100)}) == 100
