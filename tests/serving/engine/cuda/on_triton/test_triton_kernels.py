from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional

from serving.engine.cuda import triton_attention, triton_matrices
from serving.engine.cuda.llama_attention import attend_blocks, keep, rotated
from serving.engine.cuda.llama_shape import LlamaShape
from serving.engine.cuda.matrices import Matrix
from tests.serving.engine.conftest import HERE

EPSILON = 1e-5


def random(*size: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed)).to(HERE, dtype)


def matrix(outputs: int, inputs: int, bits: Any, bias: bool = False) -> Matrix:
    return Matrix.of(
        random(outputs, inputs, seed=1) / inputs**0.5, bits, random(outputs, seed=2) if bias else None
    )


def assert_close(ours: torch.Tensor, reference: torch.Tensor) -> None:
    torch.testing.assert_close(ours, reference, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize(
    ("outputs", "inputs", "bits"),
    [
        (37, 576, 16),
        (37, 576, 8),
        (37, 576, 4),
        (24, 2560, 16),
        (24, 2560, 8),
        (24, 2560, 4),
        (16400, 64, 16),
    ],
)
def test_a_vector_times_a_matrix(outputs: int, inputs: int, bits: Any) -> None:
    weights, x = matrix(outputs, inputs, bits), random(1, inputs)
    assert_close(triton_matrices.matvec(x, weights), weights(x))


@pytest.mark.parametrize("bits", [16, 8, 4])
def test_norm_and_bias_are_part_of_the_product(bits: Any) -> None:
    weights, x, norm = matrix(40, 576, bits, bias=True), random(1, 576) * 3, random(576, seed=3)
    normed = functional.rms_norm(x, (576,), norm, EPSILON)
    assert_close(triton_matrices.matvec(x, weights, norm=norm, epsilon=EPSILON), weights(normed))


@pytest.mark.parametrize("bits", [16, 8, 4])
def test_a_residual_is_added(bits: Any) -> None:
    weights, x, residual = matrix(40, 128, bits), random(1, 128), random(1, 40, seed=4)
    assert_close(triton_matrices.matvec(x, weights, residual=residual), weights(x) + residual)


@pytest.mark.parametrize("bits", [16, 8, 4])
def test_gate_and_up_are_joined(bits: Any) -> None:
    weights, x, norm = matrix(2 * 44, 192, bits), random(1, 192), random(192, seed=3)
    gate, up = weights(functional.rms_norm(x, (192,), norm, EPSILON)).chunk(2, dim=-1)
    ours = triton_matrices.matvec(x, weights, norm=norm, epsilon=EPSILON, gated=True)
    assert_close(ours, functional.silu(gate) * up)


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("rows", [2, 17, 70])
def test_many_rows_times_a_quantized_matrix(rows: int, bits: Any) -> None:
    weights, x = matrix(150, 576, bits, bias=True), random(rows, 576)
    assert_close(triton_matrices.matmul(x, weights), weights(x))


@pytest.mark.parametrize("bits", [16, 8, 4])
def test_half_precision_strays_by_its_rounding_only(bits: Any) -> None:
    exact = random(64, 256, seed=1) / 16
    weights, x = Matrix.of(exact.bfloat16(), bits), random(1, 256, dtype=torch.bfloat16)
    reference = x.double() @ weights.dense().double().T
    torch.testing.assert_close(triton_matrices.matvec(x, weights).double(), reference, atol=0.02, rtol=0.01)


SHAPE = LlamaShape(
    vocabulary=9, hidden=64, intermediate=64, heads=6, kv_heads=2, head_dim=64, windows=(0,),
    norm_epsilon=EPSILON, tied=True, qkv_bias=False, head_norms=True,
)  # fmt: skip


@pytest.mark.parametrize("head_dim", [64, 80])
@pytest.mark.parametrize("normed", [False, True])
def test_heads_are_normed_rotated_and_kept(normed: bool, head_dim: int) -> None:
    shape = LlamaShape(**{name: getattr(SHAPE, name) for name in SHAPE.__slots__} | {"head_dim": head_dim})
    qkv = random(3, shape.qkv_width)
    norms = (random(head_dim, seed=5), random(head_dim, seed=6)) if normed else None
    angles = torch.arange(50)[:, None] / torch.arange(1, head_dim // 2 + 1)
    rotary = torch.stack((angles.cos(), angles.sin())).to(HERE)
    positions = torch.tensor([0, 7, 49], dtype=torch.int32, device=HERE)
    slots = torch.tensor([5, 30, 2], dtype=torch.int32, device=HERE)
    ours, theirs = (torch.zeros(2, 8, 4, 2, head_dim, device=HERE) for _ in range(2))
    queries = triton_attention.rotate_and_keep(
        qkv, norms, EPSILON, rotary, positions, slots, ours[0], ours[1], shape.heads
    )
    expected, keys, values = rotated(shape, qkv, norms, rotary, positions)
    keep(theirs[0], theirs[1], slots, keys, values)
    assert_close(queries, expected)
    assert_close(ours, theirs)


@pytest.mark.parametrize("splits", [1, 3, 8])
@pytest.mark.parametrize("window", [0, 20])
@pytest.mark.parametrize("head_dim", [64, 80])
def test_attention_over_blocks(head_dim: int, window: int, splits: int) -> None:
    lengths = [1, 5, 64, 65, 300]
    keys, values = (random(120, 4, 2, head_dim, seed=seed) for seed in (7, 8))
    order = torch.randperm(119, generator=torch.Generator().manual_seed(9)).to(torch.int32) + 1
    tables = torch.zeros(5, 80, dtype=torch.int32)
    for row, length in enumerate(lengths):
        blocks = -(-length // 4)
        tables[row, :blocks], order = order[:blocks], order[blocks:]
    tables = tables.to(HERE)
    positions = torch.tensor(lengths, dtype=torch.int32, device=HERE) - 1
    queries = random(5, 6, head_dim)
    expected = attend_blocks(queries, keys, values, tables, positions, window)
    assert_close(triton_attention.attend(queries, keys, values, tables, positions, window, splits), expected)
