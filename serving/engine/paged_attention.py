"""Attention over keys and values kept in blocks, as a function that transformers models call.

One ``PagedStep`` is current while a model runs a packed batch. Sequences of the step that compute
equally many tokens attend together, padded to the longest of them: all decoding ones at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from collections.abc import Sequence as Seq
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Self

import torch
from torch.nn import functional

from serving.engine.core import BatchItem
from serving.engine.errors import ModelLoadError
from serving.engine.saying import say

NAME = "paged_blocks"


@dataclass(frozen=True, slots=True)
class LayerShape:
    """What one layer keeps for each token: ``heads`` keys and values of these widths."""

    heads: int
    key_width: int
    value_width: int
    dtype: torch.dtype
    device: torch.device

    @property
    def bytes_per_token(self) -> int:
        size: int = self.dtype.itemsize
        return self.heads * (self.key_width + self.value_width) * size

    def empty_keys(self, slots: int) -> torch.Tensor:
        return torch.empty(slots, self.heads, self.key_width, dtype=self.dtype, device=self.device)

    def empty_values(self, slots: int) -> torch.Tensor:
        return torch.empty(slots, self.heads, self.value_width, dtype=self.dtype, device=self.device)


@dataclass(slots=True)
class _Group:
    """Items of one step with equal ``length``. ``rows`` (n, length): where their tokens are in the
    packed row. ``slots`` (n, longest): where their past is in the cache, their first slot repeated
    beyond its end. ``positions`` (n, length) of the tokens in their sequences."""

    rows: torch.Tensor
    slots: torch.Tensor
    positions: torch.Tensor

    def mask(self, window: int | None) -> torch.Tensor:
        """(n, 1, length, longest): which past a token sees; the last ``window`` tokens if given."""
        past = torch.arange(self.slots.shape[1], device=self.slots.device)[None, None]
        now = self.positions[:, :, None]
        seen = past <= now
        if window is not None:
            seen &= past > now - window
        return seen[:, None]


class PagedStep:
    """Where every token of one step is. A context manager: current for the attention inside."""

    def __init__(
        self, batch: Seq[BatchItem], block_size: int, keys: list[torch.Tensor], values: list[torch.Tensor]
    ) -> None:
        self.keys, self.values = keys, values
        tables = [_slots(item, block_size) for item in batch]
        self.first_rows = [0, *accumulate(item.length for item in batch)][: len(batch)]
        self._written = torch.cat([table[item.start :] for table, item in zip(tables, batch, strict=True)])
        by_length: dict[int, list[int]] = defaultdict(list)
        for index, item in enumerate(batch):
            by_length[item.length].append(index)
        self._groups = [
            _group(
                [batch[i] for i in members],
                [tables[i] for i in members],
                [self.first_rows[i] for i in members],
            )
            for members in by_length.values()
        ]
        self._on_device: dict[torch.device, tuple[torch.Tensor, list[_Group]]] = {}
        self._masks: dict[tuple[torch.device, int, int | None], torch.Tensor] = {}

    def __enter__(self) -> Self:
        self._token = _current.set(self)
        return self

    def __exit__(self, *exc: object) -> None:
        _current.reset(self._token)

    def places(self, device: torch.device) -> tuple[torch.Tensor, list[_Group]]:
        """Slots to write, and the groups; moved to ``device`` once, not in every layer."""
        if device not in self._on_device:
            moved = [
                _Group(g.rows.to(device), g.slots.to(device), g.positions.to(device)) for g in self._groups
            ]
            self._on_device[device] = self._written.to(device), moved
        return self._on_device[device]

    def mask(self, device: torch.device, group: int, window: int | None) -> torch.Tensor:
        key = (device, group, window)
        if key not in self._masks:
            self._masks[key] = self.places(device)[1][group].mask(window)
        return self._masks[key]


_current: ContextVar[PagedStep | dict[int, LayerShape]] = ContextVar("paged_step")


@contextmanager
def observe_layers() -> Iterator[dict[int, LayerShape]]:
    """While inside, attention writes down the shape of each layer instead of attending."""
    seen: dict[int, LayerShape] = {}
    token = _current.set(seen)
    try:
        yield seen
    finally:
        _current.reset(token)


def paged_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    position_bias: torch.Tensor | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Called by each layer with (1, heads, packed tokens, width). Writes this step's keys and values
    and returns (1, packed tokens, heads, width) of attention over all that is kept."""
    step = _current.get()
    if isinstance(step, dict):
        if s_aux is not None or position_bias is not None:
            raise ModelLoadError(
                say("%(layer)s has attention sinks or biases: choose another.", layer=type(module).__name__)
            )
        step[module.layer_idx] = LayerShape(key.shape[1], key.shape[3], value.shape[3], key.dtype, key.device)
        return query.new_zeros(1, query.shape[2], query.shape[1], value.shape[3]), None
    keys, values = step.keys[module.layer_idx], step.values[module.layer_idx]
    written, groups = step.places(key.device)
    keys.index_copy_(0, written, key[0].transpose(0, 1))
    values.index_copy_(0, written, value[0].transpose(0, 1))
    out = query.new_empty(query.shape[2], query.shape[1], value.shape[3])
    for index, group in enumerate(groups):
        mask = step.mask(key.device, index, sliding_window)
        queries = query[0][:, group.rows].transpose(0, 1)
        attended = _attend(
            queries, _gather(keys, group.slots), _gather(values, group.slots), mask, scaling, softcap
        )
        out[group.rows] = attended.transpose(1, 2)
    return out[None], None


def _gather(kept: torch.Tensor, slots: torch.Tensor) -> torch.Tensor:
    """(n, heads, longest, width) of ``kept`` (all slots, heads, width) at ``slots`` (n, longest)."""
    # index_select copies whole rows; kept[slots] takes several times as long on a CPU.
    rows = kept.index_select(0, slots.flatten())
    return rows.view(*slots.shape, *kept.shape[1:]).transpose(1, 2)


def _attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor,
    scaling: float | None,
    softcap: float | None,
) -> torch.Tensor:
    """(n, heads, length, width) of softmax(query key^T) value; fewer key heads than query heads are
    shared. torch's fused attention cannot cap its scores, so capped ones are computed in steps."""
    if softcap is None:
        return functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, scale=scaling, enable_gqa=True
        )
    shared = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(shared, dim=1), value.repeat_interleave(shared, dim=1)
    scores = query @ key.transpose(2, 3) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    scores = torch.tanh(scores / softcap) * softcap
    return scores.masked_fill(~mask, float("-inf")).float().softmax(dim=-1).to(value.dtype) @ value


def _slots(item: BatchItem, block_size: int) -> torch.Tensor:
    """Cache slots of the item's tokens 0 ... start + length."""
    table = torch.tensor(item.sequence.block_table)
    positions = torch.arange(item.start + item.length)
    return table[positions // block_size] * block_size + positions % block_size


def _group(items: list[BatchItem], tables: list[torch.Tensor], first_rows: list[int]) -> _Group:
    longest = max(len(table) for table in tables)
    slots = torch.stack([torch.cat([t, t[:1].expand(longest - len(t))]) for t in tables])
    offsets = torch.arange(items[0].length)
    rows = torch.tensor(first_rows)[:, None] + offsets
    positions = torch.tensor([item.start for item in items])[:, None] + offsets
    return _Group(rows, slots, positions)
