"""What ``triton_matrices`` needs to multiply one row with weights of 8 or 4 bits, in words of 32 bits.

Turning codes into floats is what this would spend its time on, so a code becomes a float's bits, and scales
come after the sums (docs/performance.md has what that brought).
"""

# mypy: disable-error-code="no-untyped-def, untyped-decorator"
# (Triton gives the parameters of kernels their types.)

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def packed_row_sums(
    x, norm, words, scales, rows, kept,
    INPUTS: tl.constexpr, BITS: tl.constexpr, GROUP: tl.constexpr, NORM: tl.constexpr,
    BLOCK_ROWS: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """(BLOCK_ROWS,) products of ``x`` (times ``norm``) and ``rows`` of the weights; the sum of x squared.
    A lane takes four words at once: 16 neighbouring columns for each code in a byte."""
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
            first = part * SPAN + lane * 16
            product, values_sum, squares = _part_sums(
                x, norm, packed, first, inside, squares, part, BITS, NORM, BLOCK_ROWS, LANES
            )
            if BITS == 4:
                group = rows[None] * (INPUTS // GROUP) + first[:, None] // GROUP
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
def _part_sums(
    x, norm, packed, first, inside, squares,
    PART: tl.constexpr, BITS: tl.constexpr, NORM: tl.constexpr,
    BLOCK_ROWS: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """Of the 16 columns from ``first`` on: (LANES, BLOCK_ROWS) values times codes as ``_float_of`` has them,
    (LANES,) values, and ``squares`` with theirs."""
    product = tl.zeros((LANES, BLOCK_ROWS), tl.float32)
    values_sum = tl.zeros((LANES,), tl.float32)
    for half in tl.static_range(2):
        columns = (first + half * 8)[:, None] + tl.arange(0, 8)[None]
        values = tl.load(x + columns, inside[:, None], 0).to(tl.float32)
        if NORM:
            squares += values * values
            values *= tl.load(norm + columns, inside[:, None], 0).to(tl.float32)
        values_sum += tl.sum(values, 1)
        value = _eight(values)
        for place in tl.static_range(8):
            codes = _float_of(packed[half * 2 + place // 4], place % 4, PART, BITS)
            product += codes * value[place][:, None]
    return product, values_sum, squares


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
