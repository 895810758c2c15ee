from __future__ import annotations

import pytest
import torch

from serving.engine.cuda.matrices import Matrix


def weights(outputs: int, inputs: int) -> torch.Tensor:
    return torch.randn(outputs, inputs, generator=torch.Generator().manual_seed(0))


def relative_error(matrix: Matrix, exact: torch.Tensor) -> float:
    return float((matrix.dense() - exact).norm() / exact.norm())


def test_sixteen_bits_are_kept_as_they_are() -> None:
    exact = weights(8, 64).bfloat16()
    assert Matrix.of(exact, 16).weight.data_ptr() == exact.data_ptr()


def test_eight_bits_stray_by_less_than_one_percent() -> None:
    exact = weights(100, 576)
    matrix = Matrix.of(exact, 8)
    assert relative_error(matrix, exact) < 0.01
    assert matrix.nbytes == exact.numel() + 4 * 100


@pytest.mark.parametrize(("inputs", "group"), [(576, 32), (2048, 64), (2112, 32)])
def test_four_bits_share_a_step_among_a_group_and_stray_less_than_its_plain_range(
    inputs: int, group: int
) -> None:
    exact = weights(50, inputs)
    matrix = Matrix.of(exact, 4)
    assert matrix.group == group
    assert matrix.nbytes == 50 * inputs // 2 + 2 * 4 * 50 * inputs // group
    assert relative_error(matrix, exact) < relative_error_of_plain_range(exact, group)


def relative_error_of_plain_range(exact: torch.Tensor, group: int) -> float:
    grouped = exact.view(len(exact), -1, group)
    low = grouped.amin(-1, keepdim=True)
    step = (grouped.amax(-1, keepdim=True) - low) / 15
    rounded = ((grouped - low) / step).round() * step + low
    return float((rounded - grouped).norm() / exact.norm())


@pytest.mark.parametrize("bits", [8, 4])
def test_rows_that_are_all_equal_stay_what_they_are(bits: int) -> None:
    exact = torch.zeros(4, 64, dtype=torch.float16)
    exact[1] = 0.5
    restored = Matrix.of(exact, 8 if bits == 8 else 4).dense()
    assert torch.allclose(restored, exact, atol=2e-3)
    assert torch.isfinite(restored).all()


def test_a_matrix_larger_than_a_chunk_is_quantized_as_its_rows_alone() -> None:
    exact = weights(9000, 2048)
    whole, last = Matrix.of(exact, 4), Matrix.of(exact[-10:], 4)
    assert torch.equal(whole.dense()[-10:], last.dense())


@pytest.mark.parametrize("bits", [16, 8])
def test_rows_are_looked_up_as_an_embedding(bits: int) -> None:
    matrix = Matrix.of(weights(20, 64), 16 if bits == 16 else 8)
    index = torch.tensor([3, 0, 3])
    assert torch.equal(matrix.rows(index), matrix.dense()[index])
