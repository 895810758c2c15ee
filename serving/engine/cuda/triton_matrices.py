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
def _packed_row_sums(
    x, norm, words, scales, rows, kept,
    INPUTS: tl.constexpr, BITS: tl.constexpr, GROUP: tl.constexpr, NORM: tl.constexpr,
    BLOCK_ROWS: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """As ``_row_sums``, of weights of 8 or 4 bits, which come in ``words`` of 32. A lane takes four at once:
    16 neighbouring columns for each code in a byte. Turning codes into floats is what this would
    spend its time on, so a code becomes a float's bits (``_float_of``), and its scale comes after the sum."""
    PARTS: tl.constexpr = 8 // BITS
    SPAN: tl.constexpr = INPUTS // PARTS
    total = tl.zeros((LANES, BLOCK_ROWS), tl.float32)
    squares = tl.zeros((LANES, 8), tl.float32)
    for start in range(0, SPAN // 16, LANES):
        lane = start + tl.arange(0, LANES)
        inside = lane < SPAN // 16
        whole = (inside[:, None] & kept[None])[:, :, None]
        quad = (rows[None] * (SPAN // 16) + lane[:, None])[:, :, None] * 4
        packed = _four(tl.load(words + quad + tl.arange(0, 4)[None, None], whole, 0))
        for part in tl.static_range(PARTS):
            product = tl.zeros((LANES, BLOCK_ROWS), tl.float32)
            values_sum = tl.zeros((LANES,), tl.float32)
            for half in tl.static_range(2):
                columns = (part * SPAN + half * 8 + lane * 16)[:, None] + tl.arange(0, 8)[None]
                values = tl.load(x + columns, inside[:, None], 0).to(tl.float32)
                if NORM:
                    squares += values * values
                    values *= tl.load(norm + columns, inside[:, None], 0).to(tl.float32)
                values_sum += tl.sum(values, 1)
                value = _eight(values)
                for place in tl.static_range(8):
                    codes = _float_of(packed[half * 2 + place // 4], place % 4, part, BITS)
                    product += codes * value[place][:, None]
            if BITS == 4:
                group = rows[None] * (INPUTS // GROUP) + (part * SPAN + lane * 16)[:, None] // GROUP
                both = tl.load(scales + group[:, :, None] * 2 + tl.arange(0, 2)[None, None], whole, 0)
                step, floor = tl.split(both.to(tl.float32))
                step *= 16 if part == 0 else 256
                total += step * product + (floor - step) * values_sum[:, None]
            else:
                total += 256 * product - 384 * values_sum[:, None]
    result = tl.sum(total, 0)
    if BITS == 8:
        result *= tl.load(scales + rows, kept, 0).to(tl.float32)
    return result, tl.sum(tl.sum(squares, 1), 0)


@triton.jit
def _float_of(words, BYTE: tl.constexpr, PART: tl.constexpr, BITS: tl.constexpr):
    """A code as a float: its bits are shifted into the mantissa of 1.0. Exactly, the lower half of a byte
    becomes 1 + code / 16 and the upper one 1 + code / 256: that far apart, the upper half of one byte and the
    lower half of the next share a shift. Codes of 8 bits have a sign and become 1 + (code + 128) / 256."""
    BIT: tl.constexpr = 8 * BYTE + 4 * PART
    PLACE: tl.constexpr = 15 if BITS == 8 else 19 - 4 * PART
    moved = (words >> (BIT - PLACE)) if BIT > PLACE else (words << (PLACE - BIT))
    # A GPU masks and sets bits in one instruction, but only one of the two may be a constant: the other comes
    # in a register, as a number that the compiler cannot know (there is one program in this direction).
    one = 0x3F800000 + tl.program_id(1)
    masked = moved & ((2**BITS - 1) << PLACE)
    bits = (masked | one) if BITS == 4 else (masked ^ (one + (128 << PLACE)))
    return bits.to(tl.float32, bitcast=True)


@triton.jit
def _four(values):
    """What lies side by side in the last dimension, which has a size of 4."""
    PAIRS: tl.constexpr = values.shape[:-1] + [2, 2]  # noqa: RUF005 - Triton reads no stars
    even, odd = tl.split(tl.reshape(values, PAIRS))
    first, third = tl.split(even)
    second, fourth = tl.split(odd)
    return first, second, third, fourth


@triton.jit
def _eight(values):
    """The same of a last dimension with a size of 8."""
    PAIRS: tl.constexpr = values.shape[:-1] + [4, 2]  # noqa: RUF005
    even, odd = tl.split(tl.reshape(values, PAIRS))
    a, b = _four(even), _four(odd)
    return a[0], b[0], a[1], b[1], a[2], b[2], a[3], b[3]


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
        result, squares = _packed_row_sums(
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
