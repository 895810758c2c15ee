"""Triton kernels of one decode step, and the functions that launch them. Imported on CUDA only.

A step at batch 1 is bound by reading the weights, so what surrounds a matrix is done while it is read:
the norm before it, and bias, residual or gating after it. Everything is summed in float32. Launches depend on
shapes alone, never on values, so that a CUDA graph can record them.
"""

# mypy: disable-error-code="no-untyped-def, untyped-decorator"
# (Triton gives the parameters of kernels their types.)

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

from serving.engine.cuda.matrices import Matrix

_TILE = 64  # tokens of the past that attention reads at once
_FEWEST_ROWS = 16  # what a tensor core multiplies at least
_MOST_SPLITS = 32
_PROGRAMS_PER_PROCESSOR = 2


@triton.jit
def _row_sums(
    x, norm, weight, scales, minima, rows, kept,
    INPUTS: tl.constexpr, BITS: tl.constexpr, GROUP: tl.constexpr, NORM: tl.constexpr,
    BLOCK_OUT: tl.constexpr, BLOCK_IN: tl.constexpr,
):  # fmt: skip
    """(BLOCK_OUT,) products of ``x`` (times ``norm``) and ``rows`` of the weights; the sum of x squared."""
    squares = tl.zeros((1,), tl.float32)
    if BITS == 4:
        HALF: tl.constexpr = INPUTS // 2
        GROUPS: tl.constexpr = BLOCK_IN // GROUP
        sums = tl.zeros((BLOCK_OUT, GROUPS), tl.float32)
        for start in range(0, HALF, BLOCK_IN):
            groups = start // GROUP + tl.arange(0, GROUPS)
            columns = groups[:, None] * GROUP + tl.arange(0, GROUP)[None, :]
            inside = columns < HALF
            whole = kept[:, None, None] & inside[None]
            packed = tl.load(weight + rows[:, None, None] * HALF + columns[None], whole, 0)
            some = kept[:, None] & (groups < HALF // GROUP)[None]
            for part in tl.static_range(2):
                values = tl.load(x + part * HALF + columns, inside, 0).to(tl.float32)
                if NORM:
                    squares += tl.sum(tl.sum(values * values, 1), 0)
                    values *= tl.load(norm + part * HALF + columns, inside, 0).to(tl.float32)
                codes = ((packed >> (4 * part)) & 15).to(tl.float32)
                places = rows[:, None] * (2 * HALF // GROUP) + part * (HALF // GROUP) + groups[None]
                step = tl.load(scales + places, some, 0).to(tl.float32)
                floor = tl.load(minima + places, some, 0).to(tl.float32)
                sums += step * tl.sum(codes * values[None], 2) + floor * tl.sum(values, 1)[None]
        result = tl.sum(sums, 1)
    else:
        products = tl.zeros((BLOCK_OUT, BLOCK_IN), tl.float32)
        square = tl.zeros((BLOCK_IN,), tl.float32)
        for start in range(0, INPUTS, BLOCK_IN):
            columns = start + tl.arange(0, BLOCK_IN)
            inside = columns < INPUTS
            values = tl.load(x + columns, inside, 0).to(tl.float32)
            if NORM:
                square += values * values
                values *= tl.load(norm + columns, inside, 0).to(tl.float32)
            whole = kept[:, None] & inside[None]
            weights = tl.load(weight + rows[:, None] * INPUTS + columns[None], whole, 0).to(tl.float32)
            products += weights * values[None]
        result = tl.sum(products, 1)
        squares += tl.sum(square, 0)
        if BITS == 8:
            result *= tl.load(scales + rows, kept, 0).to(tl.float32)
    return result, squares


@triton.jit
def matvec_kernel(
    x, norm, weight, scales, minima, bias, residual, out, epsilon,
    OUTPUTS: tl.constexpr, INPUTS: tl.constexpr, BITS: tl.constexpr, GROUP: tl.constexpr,
    NORM: tl.constexpr, BIAS: tl.constexpr, RESIDUAL: tl.constexpr, GATED: tl.constexpr,
    BLOCK_OUT: tl.constexpr, BLOCK_IN: tl.constexpr,
):  # fmt: skip
    """``BLOCK_OUT`` of the ``OUTPUTS`` for one row. GATED: silu(first half of the weights' rows) * second."""
    index = tl.program_id(0) * BLOCK_OUT + tl.arange(0, BLOCK_OUT)
    kept = index < OUTPUTS
    rows = index.to(tl.int64)
    result, squares = _row_sums(
        x, norm, weight, scales, minima, rows, kept, INPUTS, BITS, GROUP, NORM, BLOCK_OUT, BLOCK_IN
    )
    if NORM:
        result *= tl.rsqrt(squares / INPUTS + epsilon)
    if GATED:
        up, squares = _row_sums(
            x, norm, weight, scales, minima, rows + OUTPUTS, kept,
            INPUTS, BITS, GROUP, NORM, BLOCK_OUT, BLOCK_IN,
        )  # fmt: skip
        up *= tl.rsqrt(squares / INPUTS + epsilon)
        result = result * tl.sigmoid(result) * up
    if BIAS:
        result += tl.load(bias + index, kept, 0).to(tl.float32)
    if RESIDUAL:
        result += tl.load(residual + index, kept, 0).to(tl.float32)
    tl.store(out + index, result.to(out.dtype.element_ty), kept)


@triton.jit
def matmul_kernel(
    x, weight, scales, minima, bias, out, count,
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
                step = tl.load(scales + outputs * GROUPS + group, kept, 0).to(tl.float32)
                floor = tl.load(minima + outputs * GROUPS + group, kept, 0).to(tl.float32)
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


@triton.jit
def rotate_and_keep_kernel(
    qkv, query_norm, key_norm, rotary, positions, slots, queries, keys, values, epsilon,
    LENGTH: tl.constexpr, HEADS: tl.constexpr, KV_HEADS: tl.constexpr, WIDTH: tl.constexpr,
    HALF_BLOCK: tl.constexpr, NORMS: tl.constexpr,
):  # fmt: skip
    """One head of one token: norm and rotate it if it is a query or key, and put it where it belongs.
    ``rotary`` (2, LENGTH, WIDTH / 2)."""
    row, head = tl.program_id(0), tl.program_id(1)
    HALF: tl.constexpr = WIDTH // 2
    pair = tl.arange(0, HALF_BLOCK)
    kept = pair < HALF
    source = qkv + (row * (HEADS + 2 * KV_HEADS) + head) * WIDTH + pair
    first = tl.load(source, kept, 0).to(tl.float32)
    second = tl.load(source + HALF, kept, 0).to(tl.float32)
    is_query = head < HEADS
    if head < HEADS + KV_HEADS:
        if NORMS:
            scale = tl.rsqrt((tl.sum(first * first, 0) + tl.sum(second * second, 0)) / WIDTH + epsilon)
            first *= scale * _either(query_norm + pair, key_norm + pair, is_query, kept)
            second *= scale * _either(query_norm + HALF + pair, key_norm + HALF + pair, is_query, kept)
        angle = rotary + tl.load(positions + row).to(tl.int64) * HALF + pair
        cosine = tl.load(angle, kept, 0)
        sine = tl.load(angle + LENGTH * HALF, kept, 0)
        first, second = first * cosine - second * sine, second * cosine + first * sine
    slot = tl.load(slots + row).to(tl.int64)
    if is_query:
        target = queries + (row * HEADS + head) * WIDTH + pair
    elif head < HEADS + KV_HEADS:
        target = keys + (slot * KV_HEADS + head - HEADS) * WIDTH + pair
    else:
        target = values + (slot * KV_HEADS + head - HEADS - KV_HEADS) * WIDTH + pair
    tl.store(target, first.to(qkv.dtype.element_ty), kept)
    tl.store(target + HALF, second.to(qkv.dtype.element_ty), kept)


@triton.jit
def _either(query_norm, key_norm, is_query, kept):
    mine = tl.load(query_norm, kept & is_query, 0).to(tl.float32)
    return mine + tl.load(key_norm, kept & (is_query == 0), 0).to(tl.float32)


@triton.jit
def attend_kernel(
    queries, keys, values, tables, positions, out, partial, weights, scale,
    TABLE_WIDTH: tl.constexpr, BLOCK_SIZE: tl.constexpr, WINDOW: tl.constexpr,
    HEADS: tl.constexpr, KV_HEADS: tl.constexpr, WIDTH: tl.constexpr,
    SPLITS: tl.constexpr, TILE: tl.constexpr, SHARED: tl.constexpr, BLOCK_WIDTH: tl.constexpr,
):  # fmt: skip
    """The query heads that share a key head, over one of ``SPLITS`` stretches of one sequence's past.

    Flash-decoding (Dao, Haziza, Massa & Sizov, 2023) over blocks. With several splits it leaves its
    unnormalised sum in ``partial`` and (maximum, sum of weights) in ``weights`` for ``merge_kernel``."""
    row, group, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    length = tl.load(positions + row) + 1
    seen_from = 0
    if WINDOW > 0:
        seen_from = tl.maximum(length - WINDOW, 0)
    stretch = tl.cdiv(tl.cdiv(length - seen_from, SPLITS), TILE) * TILE
    begin = seen_from + split * stretch
    end = tl.minimum(begin + stretch, length)

    share: tl.constexpr = HEADS // KV_HEADS
    member, lane = tl.arange(0, SHARED), tl.arange(0, BLOCK_WIDTH)
    heads = row * HEADS + group * share + member
    mine = (member < share)[:, None] & (lane < WIDTH)[None]
    query = tl.load(queries + heads[:, None] * WIDTH + lane[None], mine, 0)
    best = tl.full((SHARED,), float("-inf"), tl.float32)
    total = tl.zeros((SHARED,), tl.float32)
    sums = tl.zeros((SHARED, BLOCK_WIDTH), tl.float32)
    for start in range(begin, end, TILE):
        tokens = start + tl.arange(0, TILE)
        known = tokens < end
        block = tl.load(tables + row * TABLE_WIDTH + tokens // BLOCK_SIZE, known, 0).to(tl.int64)
        base = ((block * BLOCK_SIZE + tokens % BLOCK_SIZE) * KV_HEADS + group) * WIDTH
        key = tl.load(keys + base[None] + lane[:, None], known[None] & (lane < WIDTH)[:, None], 0)
        scores = tl.dot(query, key, input_precision="ieee") * scale
        scores = tl.where(known[None], scores, float("-inf"))
        higher = tl.maximum(best, tl.max(scores, 1))
        shrink = tl.exp(best - higher)
        weight = tl.exp(scores - higher[:, None])
        value = tl.load(values + base[:, None] + lane[None], known[:, None] & (lane < WIDTH)[None], 0)
        sums = sums * shrink[:, None] + tl.dot(weight.to(value.dtype), value, input_precision="ieee")
        total = total * shrink + tl.sum(weight, 1)
        best = higher

    if SPLITS == 1:
        mean = sums / total[:, None]
        tl.store(out + heads[:, None] * WIDTH + lane[None], mean.to(out.dtype.element_ty), mine)
    else:
        places = heads * SPLITS + split
        tl.store(partial + places[:, None] * WIDTH + lane[None], sums, mine)
        tl.store(weights + places * 2, best, member < share)
        tl.store(weights + places * 2 + 1, total, member < share)


@triton.jit
def merge_kernel(
    partial, weights, out,
    WIDTH: tl.constexpr, SPLITS: tl.constexpr, BLOCK_SPLITS: tl.constexpr, BLOCK_WIDTH: tl.constexpr,
):  # fmt: skip
    """One head of one sequence: join what the splits found."""
    head = tl.program_id(0)
    split, lane = tl.arange(0, BLOCK_SPLITS), tl.arange(0, BLOCK_WIDTH)
    places = head * SPLITS + split
    some = split < SPLITS
    best = tl.load(weights + places * 2, some, float("-inf"))
    share = tl.exp(best - tl.max(best, 0))
    total = tl.sum(share * tl.load(weights + places * 2 + 1, some, 0), 0)
    whole = some[:, None] & (lane < WIDTH)[None]
    sums = tl.load(partial + places[:, None] * WIDTH + lane[None], whole, 0)
    mean = tl.sum(sums * share[:, None], 0) / total
    tl.store(out + head * WIDTH + lane, mean.to(out.dtype.element_ty), lane < WIDTH)


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
    # Few outputs are cut small, so that every processor gets enough of them.
    block_out = 4 if outputs <= 8192 else 8
    matvec_kernel[(triton.cdiv(outputs, block_out),)](
        x, x if norm is None else norm, matrix.weight, matrix.scales, matrix.minima,
        x if matrix.bias is None else matrix.bias, x if residual is None else residual, out, epsilon,
        OUTPUTS=outputs, INPUTS=matrix.inputs, BITS=matrix.bits, GROUP=matrix.group,
        NORM=norm is not None, BIAS=matrix.bias is not None, RESIDUAL=residual is not None, GATED=gated,
        BLOCK_OUT=block_out, BLOCK_IN=512 if matrix.bits == 16 else 1024, num_warps=4,
    )  # fmt: skip
    return out


def matmul(x: torch.Tensor, matrix: Matrix) -> torch.Tensor:
    """(rows, inputs) to (rows, outputs) through the quantized ``matrix``."""
    rows = x.shape[0]
    out = x.new_empty(rows, matrix.outputs)
    block_rows = min(max(triton.next_power_of_2(rows), _FEWEST_ROWS), 64)
    block_out = 32 if rows <= 64 else 128
    grid = (triton.cdiv(matrix.outputs, block_out), triton.cdiv(rows, block_rows))
    matmul_kernel[grid](
        x, matrix.weight, matrix.scales, matrix.minima, x if matrix.bias is None else matrix.bias, out, rows,
        OUTPUTS=matrix.outputs, INPUTS=matrix.inputs, BITS=matrix.bits, BIAS=matrix.bias is not None,
        BLOCK_ROWS=block_rows, BLOCK_OUT=block_out, BLOCK_IN=matrix.group if matrix.bits == 4 else 64,
        num_warps=4, num_stages=3,
    )  # fmt: skip
    return out


def rotate_and_keep(
    qkv: torch.Tensor,
    norms: tuple[torch.Tensor, torch.Tensor] | None,
    epsilon: float,
    rotary: torch.Tensor,
    positions: torch.Tensor,
    slots: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    heads: int,
) -> torch.Tensor:
    """Queries (rows, heads, width), rotated. Keys and values go to ``slots`` of the cache."""
    kv_heads, width = keys.shape[-2:]
    queries = qkv.new_empty(qkv.shape[0], heads, width)
    query_norm, key_norm = norms or (qkv, qkv)
    rotate_and_keep_kernel[(qkv.shape[0], heads + 2 * kv_heads)](
        qkv, query_norm, key_norm, rotary, positions, slots, queries, keys, values, epsilon,
        LENGTH=rotary.shape[1], HEADS=heads, KV_HEADS=kv_heads, WIDTH=width,
        HALF_BLOCK=triton.next_power_of_2(width // 2), NORMS=norms is not None, num_warps=1,
    )  # fmt: skip
    return queries


def attend(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    tables: torch.Tensor,
    positions: torch.Tensor,
    window: int,
    splits: int | None = None,
) -> torch.Tensor:
    """``llama_attention.attend_blocks``, on the GPU. ``splits``: as many as keep it busy, unless given."""
    rows, heads, width = queries.shape
    _, block_size, kv_heads, _ = keys.shape
    splits = splits or _splits(rows * kv_heads, queries.device)
    out = torch.empty_like(queries)
    partial = queries.new_empty(rows * heads, splits, width, dtype=torch.float32)
    weights = queries.new_empty(rows * heads, splits, 2, dtype=torch.float32)
    shape: dict[str, Any] = {"WIDTH": width, "SPLITS": splits, "BLOCK_WIDTH": triton.next_power_of_2(width)}
    attend_kernel[(rows, kv_heads, splits)](
        queries, keys, values, tables, positions, out, partial, weights, width**-0.5,
        TABLE_WIDTH=tables.shape[1], BLOCK_SIZE=block_size, WINDOW=window, HEADS=heads, KV_HEADS=kv_heads,
        TILE=_TILE, SHARED=max(triton.next_power_of_2(heads // kv_heads), _FEWEST_ROWS),
        num_warps=4, num_stages=2, **shape,
    )  # fmt: skip
    if splits > 1:
        merge_kernel[(rows * heads,)](
            partial, weights, out, BLOCK_SPLITS=triton.next_power_of_2(splits), num_warps=1, **shape
        )
    return out


def _splits(programs: int, device: torch.device) -> int:
    processors = torch.cuda.get_device_properties(device).multi_processor_count
    splits: int = min(max(_PROGRAMS_PER_PROCESSOR * processors // programs, 1), _MOST_SPLITS)
    return splits
