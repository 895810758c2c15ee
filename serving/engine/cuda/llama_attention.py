"""Attention of the fast GPU runner, over keys and values kept in blocks. Two kinds, with one interface:
``DecodeAttention`` for one new token in each of many sequences, in static shapes as a CUDA graph needs them,
and ``PrefillAttention`` for stretches of prompts.
"""

from __future__ import annotations

from collections.abc import Sequence as Seq
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch.nn import functional

from serving.engine.cuda.fused import runs_triton
from serving.engine.cuda.llama_shape import LlamaShape

HeadNorms = tuple[torch.Tensor, torch.Tensor]


class Attention(Protocol):
    """Where the tokens of one forward pass are, and what they see."""

    def __call__(self, layer: int, qkv: torch.Tensor, norms: HeadNorms | None) -> torch.Tensor:
        """``qkv`` (tokens, qkv_width), not rotated, to (tokens, heads * head_dim). Keeps keys and values.
        ``norms``: weights of the norms over each query and key head, if the model has them."""


@dataclass(frozen=True, slots=True)
class Cache:
    """Keys and values of each layer: (blocks, block_size, kv_heads, head_dim)."""

    keys: list[torch.Tensor]
    values: list[torch.Tensor]

    @classmethod
    def empty(
        cls, shape: LlamaShape, blocks: int, block_size: int, dtype: torch.dtype, device: torch.device
    ) -> Cache:
        # Zeros: whatever lies in a slot that nobody wrote is multiplied by 0, which NaN would survive.
        size = (blocks, block_size, shape.kv_heads, shape.head_dim)
        keys, values = (
            [torch.zeros(size, dtype=dtype, device=device) for _ in shape.windows] for _ in range(2)
        )
        return cls(keys, values)


@dataclass(frozen=True, slots=True)
class DecodeAttention:
    """``positions`` and ``slots`` (rows,), ``tables`` (rows, blocks of the longest sequence): int32.
    Each row sees its own position and everything before it."""

    shape: LlamaShape
    cache: Cache
    rotary: torch.Tensor
    positions: torch.Tensor
    slots: torch.Tensor
    tables: torch.Tensor

    def __call__(self, layer: int, qkv: torch.Tensor, norms: HeadNorms | None) -> torch.Tensor:
        shape = self.shape
        keys, values, window = self.cache.keys[layer], self.cache.values[layer], shape.windows[layer]
        if runs_triton(qkv):
            queries = _kernels().rotate_and_keep(
                qkv,
                norms,
                shape.norm_epsilon,
                self.rotary,
                self.positions,
                self.slots,
                keys,
                values,
                shape.heads,
            )
            return _kernels().attend(queries, keys, values, self.tables, self.positions, window).flatten(1)
        queries, new_keys, new_values = rotated(shape, qkv, norms, self.rotary, self.positions)
        keep(keys, values, self.slots, new_keys, new_values)
        return attend_blocks(queries, keys, values, self.tables, self.positions, window).flatten(1)


@dataclass(frozen=True, slots=True)
class Stretch:
    """``length`` successive tokens of one sequence from position ``start`` on. ``seen``: the slots of all
    of its tokens up to the last of these, int64."""

    start: int
    length: int
    seen: torch.Tensor


@dataclass(frozen=True, slots=True)
class PrefillAttention:
    """Of packed ``stretches``; ``positions`` and ``slots`` (tokens,) of their tokens."""

    shape: LlamaShape
    cache: Cache
    rotary: torch.Tensor
    positions: torch.Tensor
    slots: torch.Tensor
    stretches: Seq[Stretch]

    def __call__(self, layer: int, qkv: torch.Tensor, norms: HeadNorms | None) -> torch.Tensor:
        keys, values = self.cache.keys[layer], self.cache.values[layer]
        queries, new_keys, new_values = rotated(self.shape, qkv, norms, self.rotary, self.positions)
        keep(keys, values, self.slots, new_keys, new_values)
        attended, first = torch.empty_like(queries), 0
        for stretch in self.stretches:
            rows = slice(first, first + stretch.length)
            attended[rows] = _attend_stretch(queries[rows], keys, values, stretch, self.shape.windows[layer])
            first = rows.stop
        return attended.flatten(1)


def rotated(
    shape: LlamaShape,
    qkv: torch.Tensor,
    norms: HeadNorms | None,
    rotary: torch.Tensor,
    positions: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Queries, keys and values (tokens, their heads, head_dim), normed and rotated."""
    counts = (shape.heads, shape.kv_heads, shape.kv_heads)
    queries, keys, values = qkv.view(len(qkv), -1, shape.head_dim).split(counts, dim=1)
    if norms is not None:
        queries = functional.rms_norm(queries, queries.shape[-1:], norms[0], shape.norm_epsilon)
        keys = functional.rms_norm(keys, keys.shape[-1:], norms[1], shape.norm_epsilon)
    cosines, sines = rotary[:, positions][:, :, None]
    return _rotate(queries, cosines, sines), _rotate(keys, cosines, sines), values


def keep(
    keys: torch.Tensor,
    values: torch.Tensor,
    slots: torch.Tensor,
    new_keys: torch.Tensor,
    new_values: torch.Tensor,
) -> None:
    keys.flatten(0, 1).index_copy_(0, slots.long(), new_keys)
    values.flatten(0, 1).index_copy_(0, slots.long(), new_values)


def attend_blocks(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    tables: torch.Tensor,
    positions: torch.Tensor,
    window: int,
) -> torch.Tensor:
    """One query (rows, heads, head_dim) for each sequence, over what ``tables`` say that it has kept; only
    the last ``window`` tokens unless that is 0. What the Triton kernel of the same task must give."""
    block_size = keys.shape[1]
    blocks = tables[:, : int(positions.max()) // block_size + 1].long()
    past = torch.arange(blocks.shape[1] * block_size, device=queries.device)
    seen = past <= positions[:, None]
    if window:
        seen &= past > positions[:, None] - window
    attended = functional.scaled_dot_product_attention(
        queries[:, :, None],
        keys[blocks].flatten(1, 2).transpose(1, 2),
        values[blocks].flatten(1, 2).transpose(1, 2),
        attn_mask=seen[:, None, None],
        enable_gqa=True,
    )
    return attended[:, :, 0]


def _attend_stretch(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, stretch: Stretch, window: int
) -> torch.Tensor:
    """(length, heads, head_dim) of one sequence's ``queries``."""
    past_keys = keys.flatten(0, 1)[stretch.seen].transpose(0, 1)
    past_values = values.flatten(0, 1)[stretch.seen].transpose(0, 1)
    total = len(stretch.seen)
    if stretch.start == 0 and (window == 0 or total <= window):
        attended = functional.scaled_dot_product_attention(
            queries.transpose(0, 1)[None], past_keys[None], past_values[None], is_causal=True, enable_gqa=True
        )
        return attended[0].transpose(0, 1)
    # With a mask, torch's memory-efficient attention wants as many key heads as query heads.
    shared = queries.shape[1] // keys.shape[2]
    past = torch.arange(total, device=queries.device)
    now = torch.arange(stretch.start, total, device=queries.device)[:, None]
    mask = past <= now
    if window:
        mask &= past > now - window
    attended = functional.scaled_dot_product_attention(
        queries.transpose(0, 1)[None],
        past_keys.repeat_interleave(shared, dim=0)[None],
        past_values.repeat_interleave(shared, dim=0)[None],
        attn_mask=mask,
    )
    return attended[0].transpose(0, 1)


def _rotate(heads: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor) -> torch.Tensor:
    first, second = heads.float().chunk(2, dim=-1)
    turned = torch.cat((first * cosines - second * sines, second * cosines + first * sines), dim=-1)
    return turned.to(heads.dtype)


def _kernels() -> Any:
    """Triton comes with torch for CUDA, and only there."""
    from serving.engine.cuda import triton_attention

    return triton_attention
