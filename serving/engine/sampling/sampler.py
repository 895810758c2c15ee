"""Choosing the next tokens from logits, for a whole batch at once.

The rule, for each row on its own, here and in native/kernels/sampling.c alike:

1. Adjust: the logit of every token in the prompt or the output is divided by ``repetition_penalty`` if it
   is positive, else multiplied by it; then ``logit_bias`` is added, and for a token that the output holds
   n > 0 times ``presence_penalty + n * frequency_penalty`` taken away. Tokens that would end the sequence
   too early (``min_tokens``) and those that the grammar does not allow cannot come.
2. ``temperature`` 0 takes the most probable token, the lowest id of equals. Else divide the logits by it.
3. Order tokens by falling probability, equals by rising id. Keep those at least ``min_p`` times as probable
   as the first; of them the first ``top_k``; renormalise; of them the fewest first ones that together reach
   ``top_p``; renormalise.
4. Take the first token at which the running sum passes ``uniform(seed, position)``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence as Seq
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from serving.engine.core import BatchItem
from serving.engine.sampling.adjustments import Adjustments
from serving.engine.sampling.randomness import uniform

# Below this a temperature is greedy: dividing by it would only overflow.
_COLDEST = 1e-5
# Nearly every draw falls among this many tokens; ordering a whole vocabulary takes 50 times as long.
_HEAD = 1024


@dataclass(frozen=True, slots=True)
class SamplingRow:
    """What decides one row. ``draw`` is the row's uniform number in [0, 1); ``allowed`` as
    ``GrammarState.allowed`` gives it."""

    temperature: float
    top_k: int
    top_p: float
    draw: float
    min_p: float = 0.0
    adjustments: Adjustments | None = None
    allowed: Any = None

    @classmethod
    def of(cls, item: BatchItem) -> SamplingRow:
        sequence, params = item.sequence, item.sequence.params
        return cls(
            params.temperature,
            params.top_k,
            params.top_p,
            uniform(sequence.seed, item.start + item.length),
            params.min_p,
            sequence.adjustments,
            None if sequence.grammar is None else sequence.grammar.allowed(),
        )


class Sampler:
    def __call__(self, logits: torch.Tensor, rows: Seq[SamplingRow]) -> list[int]:
        """Token ids for ``logits`` of shape (rows, vocabulary), any float dtype and device."""
        logits = _changed(logits, rows)
        tokens = _ids(logits.argmax(dim=-1))
        warm = [index for index, row in enumerate(rows) if row.temperature > _COLDEST]
        for width in (min(_HEAD, logits.shape[-1]), logits.shape[-1]):
            if not warm:
                break
            drawn, certain = _draw(logits[warm].float(), [rows[index] for index in warm], width)
            for index, token, sure in zip(warm, _ids(drawn), _ids(certain), strict=True):
                if sure:
                    tokens[index] = token
            warm = [index for index, sure in zip(warm, _ids(certain), strict=True) if not sure]
        return tokens


def _changed(logits: torch.Tensor, rows: Seq[SamplingRow]) -> torch.Tensor:
    """``logits`` adjusted and masked as ``rows`` say: a copy, or itself when they say nothing."""
    adjusted = [(index, row.adjustments) for index, row in enumerate(rows) if row.adjustments is not None]
    masked = [index for index, row in enumerate(rows) if row.allowed is not None]
    if not adjusted and not masked:
        return logits
    logits = logits.to(torch.float32, copy=True)
    if adjusted:
        _adjust(logits, adjusted)
    if masked:
        words = torch.from_numpy(np.stack([rows[index].allowed for index in masked])).to(logits.device)
        bits = words[:, :, None] >> torch.arange(32, device=logits.device, dtype=torch.int32) & 1
        logits[masked] = logits[masked].where(bits.flatten(1)[:, : logits.shape[-1]] != 0, -math.inf)
    return logits


def _adjust(logits: torch.Tensor, adjusted: list[tuple[int, Adjustments]]) -> None:
    """In place, all rows at once."""

    def joined(arrays: list[Any]) -> torch.Tensor:
        return torch.from_numpy(np.concatenate([np.asarray(values) for values in arrays])).to(logits.device)

    changes = [change for _, change in adjusted]
    index = joined([np.full(len(change.ids), row) for row, change in adjusted])
    ids, factors = joined([c.ids for c in changes]).long(), joined([c.factors for c in changes])
    before = logits[index, ids]
    after = torch.where(before > 0, before / factors, before * factors)
    logits[index, ids] = after + joined([c.offsets for c in changes])


@dataclass(frozen=True, slots=True)
class _Asked:
    """What some rows ask for: columns (rows, 1) of float64. ``least``: the logarithm of min_p."""

    temperature: torch.Tensor
    top_k: torch.Tensor
    top_p: torch.Tensor
    least: torch.Tensor
    draw: torch.Tensor

    @classmethod
    def of(cls, rows: Seq[SamplingRow], logits: torch.Tensor) -> _Asked:
        def column(values: list[float]) -> torch.Tensor:
            return torch.tensor(values, dtype=torch.float64, device=logits.device)[:, None]

        vocabulary: int = logits.shape[-1]
        return cls(
            temperature=column([row.temperature for row in rows]),
            top_k=column([min(row.top_k or vocabulary, vocabulary) for row in rows]),
            top_p=column([row.top_p for row in rows]),
            least=column([math.log(row.min_p) if row.min_p else -math.inf for row in rows]),
            draw=column([row.draw for row in rows]),
        )

    def weigh(self, logits: torch.Tensor, highest: torch.Tensor) -> torch.Tensor:
        """What ``logits`` weigh: the ``highest`` of its row 1, those that min_p leaves out nothing."""
        # Sums of a whole vocabulary in float32 drift by more than rare tokens weigh.
        exponents = (logits.double() - highest.double()) / self.temperature
        return torch.where(exponents >= self.least, exponents.exp(), 0)


def _draw(logits: torch.Tensor, rows: Seq[SamplingRow], width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens drawn for ``rows`` from looking at the ``width`` most probable ones, and whether the whole
    vocabulary would certainly have given the same."""
    asked, vocabulary = _Asked.of(rows, logits), logits.shape[-1]
    ordered, ids = most_probable(logits, width)
    weights = asked.weigh(ordered, ordered[:, :1])
    weights[torch.arange(width, device=logits.device) >= asked.top_k] = 0
    everything = asked.weigh(logits, ordered[:, :1]).sum(dim=-1, keepdim=True)
    chosen, nucleus_ends_here = _choose(weights, everything, asked, vocabulary)

    # The least probable one seen may have unseen equals with lower ids.
    certain = ordered.gather(-1, chosen) > ordered[:, -1:]
    certain &= nucleus_ends_here | (asked.top_p >= 1)
    certain &= (asked.top_k <= width) | (asked.top_k == vocabulary)
    sees_everything = width == vocabulary
    return ids.gather(-1, chosen)[:, 0], (certain | sees_everything)[:, 0]


def _choose(
    weights: torch.Tensor, everything: torch.Tensor, asked: _Asked, vocabulary: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Columns: the place that the draw takes in ``weights`` (rows, width), which fall, and whether top_p's
    nucleus ends among them. ``everything``: what the whole vocabulary weighs."""
    sums = weights.cumsum(dim=-1)
    total = torch.where(asked.top_k < vocabulary, sums[:, -1:], everything)
    nucleus_ends_here = (sums[:, -1:] >= asked.top_p * total) & (asked.top_p < 1)
    kept = torch.where(sums - weights < asked.top_p * total, weights, 0)
    sums = kept.cumsum(dim=-1)
    mass = torch.where(nucleus_ends_here, sums[:, -1:], total)
    chosen = (sums <= asked.draw * mass).sum(dim=-1, keepdim=True)
    # Rounding may push the draw past the last sum: the last kept token is meant then.
    last = (kept > 0).sum(dim=-1, keepdim=True) - 1
    return torch.minimum(chosen, last).clamp(min=0), nucleus_ends_here


def most_probable(logits: torch.Tensor, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Values and ids of the ``width`` highest logits of each row, falling, equals by rising id."""
    ids = logits.topk(width, dim=-1).indices.sort(dim=-1).values
    ordered, places = logits.gather(-1, ids).sort(dim=-1, descending=True, stable=True)
    return ordered, ids.gather(-1, places)


def _ids(tokens: torch.Tensor) -> list[int]:
    ids: list[int] = tokens.tolist()
    return ids
