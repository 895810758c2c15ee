"""Triton kernels of a decode step's attention, and the functions that launch them. Imported on CUDA only.

Launches depend on shapes alone, never on values, so that a CUDA graph can record them.
"""

# mypy: disable-error-code="no-untyped-def, untyped-decorator"
# (Triton gives the parameters of kernels their types.)

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

_TILE = 64  # tokens of the past that attention reads at once
_FEWEST_HEADS = 16  # what a tensor core multiplies at least
_MOST_SPLITS = 32
_PROGRAMS_PER_PROCESSOR = 2


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
        TILE=_TILE, SHARED=max(triton.next_power_of_2(heads // kv_heads), _FEWEST_HEADS),
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
