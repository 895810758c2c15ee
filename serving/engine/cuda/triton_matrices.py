"""Triton kernels of a decode step's matrices, and the functions that launch them. Imported on CUDA only.

A step at batch 1 is bound by reading the weights, so what surrounds a matrix is done while it is read:
the norm before it, and bias, residual or gating after it. Everything is summed in float32. Launches depend on
shapes alone, never on values, so that a CUDA graph can record them.
"""

# mypy: disable-error-code="no-untyped-def, untyped-decorator"
# (Triton gives the parameters of kernels their types.)

from __future__ import annotations

import torch
import triton
import triton.language as tl

from serving.engine.cuda.matrices import Matrix
from serving.engine.cuda.triton_packed import packed_row_sums

_FEWEST_ROWS = 16  # what a tensor core multiplies at least
_MANY_OUTPUTS = 2**14


@triton.jit
def _row_sums(
    x, norm, weight, rows, kept,
    INPUTS: tl.constexpr, NORM: tl.constexpr, BLOCK_ROWS: tl.constexpr, BLOCK_IN: tl.constexpr,
):  # fmt: skip
    """(BLOCK_ROWS,) products of ``x`` (times ``norm``) and ``rows`` of the weights; the sum of x squared."""
    products = tl.zeros((BLOCK_ROWS, BLOCK_IN), tl.float32)
    squares = tl.zeros((BLOCK_IN,), tl.float32)
    for start in range(0, INPUTS, BLOCK_IN):
        columns = start + tl.arange(0, BLOCK_IN)
        inside = columns < INPUTS
        values = tl.load(x + columns, inside, 0).to(tl.float32)
        if NORM:
            squares += values * values
            values *= tl.load(norm + columns, inside, 0).to(tl.float32)
        whole = kept[:, None] & inside[None]
        weights = tl.load(weight + rows[:, None] * INPUTS + columns[None], whole, 0).to(tl.float32)
        products += weights * values[None]
    return tl.sum(products, 1), tl.sum(squares, 0)


@triton.jit
def matvec_kernel(
    x, norm, weight, scales, bias, residual, out, epsilon,
    OUTPUTS: tl.constexpr, INPUTS: tl.constexpr, BITS: tl.constexpr, GROUP: tl.constexpr,
    NORM: tl.constexpr, BIAS: tl.constexpr, RESIDUAL: tl.constexpr, GATED: tl.constexpr,
    BLOCK_OUT: tl.constexpr, BLOCK_IN: tl.constexpr,
):  # fmt: skip
    """``BLOCK_OUT`` of the ``OUTPUTS`` for one row. GATED: silu(first half of the weights' rows) * second.
    ``weight`` in words of 32 bits if it is quantized; ``BLOCK_IN`` columns, or lanes, at a time."""
    index = tl.program_id(0) * BLOCK_OUT + tl.arange(0, BLOCK_OUT)
    kept = index < OUTPUTS
    BLOCK_ROWS: tl.constexpr = BLOCK_OUT * 2 if GATED else BLOCK_OUT
    place = tl.arange(0, BLOCK_ROWS)
    rows = tl.program_id(0) * BLOCK_OUT + place % BLOCK_OUT
    some = rows < OUTPUTS
    rows += place // BLOCK_OUT * OUTPUTS
    if BITS == 16:
        result, squares = _row_sums(
            x, norm, weight, rows.to(tl.int64), some, INPUTS, NORM, BLOCK_ROWS, BLOCK_IN
        )
    else:
        result, squares = packed_row_sums(
            x, norm, weight, scales, rows, some, INPUTS, BITS, GROUP, NORM, BLOCK_ROWS, BLOCK_IN
        )
    if NORM:
        result *= tl.rsqrt(squares / INPUTS + epsilon)
    if GATED:
        gate, up = tl.split(tl.trans(tl.reshape(result, (2, BLOCK_OUT))))
        result = gate * tl.sigmoid(gate) * up
    if BIAS:
        result += tl.load(bias + index, kept, 0).to(tl.float32)
    if RESIDUAL:
        result += tl.load(residual + index, kept, 0).to(tl.float32)
    tl.store(out + index, result.to(out.dtype.element_ty), kept)


@triton.jit
def matmul_kernel(
    x, weight, scales, bias, out, count,
    OUTPUTS: tl.constexpr, INPUTS: tl.constexpr, BITS: tl.constexpr, BIAS: tl.constexpr,
    BLOCK_ROWS: tl.constexpr, BLOCK_OUT: tl.constexpr, BLOCK_IN: tl.constexpr,
):  # fmt: skip
    """A tile of quantized weights times ``x`` (count, INPUTS), unpacked on the way. With 4 bits ``BLOCK_IN``
    is the group, so that each output has one scale in a tile."""
    rows = (tl.program_id(1) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)).to(tl.int64)
    index = tl.program_id(0) * BLOCK_OUT + tl.arange(0, BLOCK_OUT)
    outputs = index.to(tl.int64)
    steps = tl.arange(0, BLOCK_IN)
    real, kept = rows < count, index < OUTPUTS
    sums = tl.zeros((BLOCK_ROWS, BLOCK_OUT), tl.float32)
    if BITS == 4:
        HALF: tl.constexpr = INPUTS // 2
        GROUPS: tl.constexpr = INPUTS // BLOCK_IN
        for start in range(0, HALF, BLOCK_IN):
            packed = tl.load(weight + outputs[None] * HALF + start + steps[:, None], kept[None], 0)
            for part in tl.static_range(2):
                group = part * (HALF // BLOCK_IN) + start // BLOCK_IN
                both = (outputs * GROUPS + group)[:, None] * 2 + tl.arange(0, 2)[None]
                step, floor = tl.split(tl.load(scales + both, kept[:, None], 0).to(tl.float32))
                codes = ((packed >> (4 * part)) & 15).to(tl.float32)
                weights = (codes * step[None] + floor[None]).to(x.dtype.element_ty)
                columns = part * HALF + start + steps
                values = tl.load(x + rows[:, None] * INPUTS + columns[None], real[:, None], 0)
                sums = tl.dot(values, weights, sums, input_precision="ieee")
    else:
        for start in range(0, INPUTS, BLOCK_IN):
            codes = tl.load(weight + outputs[None] * INPUTS + start + steps[:, None], kept[None], 0)
            values = tl.load(x + rows[:, None] * INPUTS + start + steps[None], real[:, None], 0)
            sums = tl.dot(values, codes.to(x.dtype.element_ty), sums, input_precision="ieee")
        sums *= tl.load(scales + index, kept, 0).to(tl.float32)[None]
    if BIAS:
        sums += tl.load(bias + index, kept, 0).to(tl.float32)[None]
    places = rows[:, None] * OUTPUTS + outputs[None]
    tl.store(out + places, sums.to(out.dtype.element_ty), real[:, None] & kept[None])


def matvec(
    x: torch.Tensor,
    matrix: Matrix,
    *,
    norm: torch.Tensor | None = None,
    epsilon: float = 0.0,
    residual: torch.Tensor | None = None,
    gated: bool = False,
) -> torch.Tensor:
    """(1, inputs) to (1, outputs): ``matrix(rms_norm(x))``, plus ``residual`` if given. ``gated``: the first
    half of that through silu, times the second half: (1, outputs / 2)."""
    outputs = matrix.outputs // 2 if gated else matrix.outputs
    out = x.new_empty(1, outputs)
    cut = _cut(matrix, gated)
    matvec_kernel[(triton.cdiv(outputs, cut["BLOCK_OUT"]),)](
        x, x if norm is None else norm,
        matrix.weight if matrix.bits == 16 else matrix.weight.view(torch.int32),
        matrix.scales, x if matrix.bias is None else matrix.bias, x if residual is None else residual,
        out, epsilon, OUTPUTS=outputs, INPUTS=matrix.inputs, BITS=matrix.bits, GROUP=matrix.group,
        NORM=norm is not None, BIAS=matrix.bias is not None, RESIDUAL=residual is not None,
        GATED=gated, **cut,
    )  # fmt: skip
    return out


def _cut(matrix: Matrix, gated: bool) -> dict[str, int]:
    """What one program takes on, as measured on an H100 with a Llama 3 8B's matrices. Few outputs are cut
    small, so that every processor gets enough of them."""
    if matrix.bits != 16:
        return {"BLOCK_OUT": 4, "BLOCK_IN": 64, "num_warps": 2}
    row = triton.next_power_of_2(matrix.inputs)
    if gated:
        return {"BLOCK_OUT": 2, "BLOCK_IN": min(row, 2048), "num_warps": 4}
    if matrix.outputs > _MANY_OUTPUTS:
        return {"BLOCK_OUT": 8, "BLOCK_IN": min(row, 1024), "num_warps": 4}
    return {"BLOCK_OUT": 1, "BLOCK_IN": min(row, 2048), "num_warps": 8}


def matmul(x: torch.Tensor, matrix: Matrix) -> torch.Tensor:
    """(rows, inputs) to (rows, outputs) through the quantized ``matrix``."""
    rows = x.shape[0]
    out = x.new_empty(rows, matrix.outputs)
    block_rows = min(max(triton.next_power_of_2(rows), _FEWEST_ROWS), 64)
    block_out = 32 if rows <= 64 else 128
    grid = (triton.cdiv(matrix.outputs, block_out), triton.cdiv(rows, block_rows))
    matmul_kernel[grid](
        x, matrix.weight, matrix.scales, x if matrix.bias is None else matrix.bias, out, rows,
        OUTPUTS=matrix.outputs, INPUTS=matrix.inputs, BITS=matrix.bits, BIAS=matrix.bias is not None,
        BLOCK_ROWS=block_rows, BLOCK_OUT=block_out, BLOCK_IN=matrix.group if matrix.bits == 4 else 64,
        num_warps=4, num_stages=3,
    )  # fmt: skip
    return out
