"""Choosing the next tokens from logits, for a whole batch at once.

The rule, for each row on its own: divide the logits by ``temperature``; order tokens by falling
probability, equals by rising id; keep the first ``top_k``; renormalise; keep the fewest first tokens
that together reach ``top_p``; renormalise; take the first token at which the running sum passes
``uniform(seed, position)``. Temperature 0 takes the most probable token (the lowest id of equals).
"""

from __future__ import annotations

from collections.abc import Sequence as Seq
from dataclasses import dataclass

import torch

from serving.engine.core import BatchItem
from serving.engine.randomness import uniform

# Below this a temperature is greedy: dividing by it would only overflow.
_COLDEST = 1e-5
# Nearly every draw falls among this many tokens; ordering a whole vocabulary takes 50 times as long.
_HEAD = 1024


@dataclass(frozen=True, slots=True)
class SamplingRow:
    """What decides one row. ``draw`` is the row's uniform number in [0, 1)."""

    temperature: float
    top_k: int
    top_p: float
    draw: float

    @classmethod
    def of(cls, item: BatchItem) -> SamplingRow:
        sequence, params = item.sequence, item.sequence.params
        draw = uniform(sequence.seed, item.start + item.length)
        return cls(params.temperature, params.top_k, params.top_p, draw)


class Sampler:
    def __call__(self, logits: torch.Tensor, rows: Seq[SamplingRow]) -> list[int]:
        """Token ids for ``logits`` of shape (rows, vocabulary), any float dtype and device."""
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


def _draw(logits: torch.Tensor, rows: Seq[SamplingRow], width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens drawn for ``rows`` from looking at the ``width`` most probable ones, and whether the whole
    vocabulary would certainly have given the same."""

    def column(values: list[float]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float64, device=logits.device)[:, None]

    temperature = column([row.temperature for row in rows])
    top_k = column([row.top_k or logits.shape[-1] for row in rows]).clamp(max=logits.shape[-1])
    top_p = column([row.top_p for row in rows])
    draws = column([row.draw for row in rows])

    ordered, ids = _most_probable(logits, width)
    highest = ordered[:, :1].double()
    # Sums of a whole vocabulary in float32 drift by more than rare tokens weigh.
    weights = ((ordered.double() - highest) / temperature).exp()
    weights[torch.arange(width, device=logits.device) >= top_k] = 0
    everything = ((logits.double() - highest) / temperature).exp().sum(dim=-1, keepdim=True)
    sums = weights.cumsum(dim=-1)
    total = torch.where(top_k < logits.shape[-1], sums[:, -1:], everything)

    nucleus_ends_here = (sums[:, -1:] >= top_p * total) & (top_p < 1)
    kept = torch.where(sums - weights < top_p * total, weights, 0)
    sums = kept.cumsum(dim=-1)
    mass = torch.where(nucleus_ends_here, sums[:, -1:], total)
    chosen = (sums <= draws * mass).sum(dim=-1, keepdim=True)
    # Rounding may push the draw past the last sum: the last kept token is meant then.
    chosen = torch.minimum(chosen, (kept > 0).sum(dim=-1, keepdim=True) - 1)

    # The least probable one seen may have unseen equals with lower ids.
    certain = ordered.gather(-1, chosen) > ordered[:, -1:]
    certain &= nucleus_ends_here | (top_p >= 1)
    certain &= (top_k <= width) | (top_k == logits.shape[-1])
    sees_everything = width == logits.shape[-1]
    return ids.gather(-1, chosen)[:, 0], (certain | sees_everything)[:, 0]


def _most_probable(logits: torch.Tensor, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Values and ids of the ``width`` highest logits of each row, falling, equals by rising id."""
    ids = logits.topk(width, dim=-1).indices.sort(dim=-1).values
    ordered, places = logits.gather(-1, ids).sort(dim=-1, descending=True, stable=True)
    return ordered, ids.gather(-1, places)


def _ids(tokens: torch.Tensor) -> list[int]:
    ids: list[int] = tokens.tolist()
    return ids
