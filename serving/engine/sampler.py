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
        warm = [index for index, row in enumerate(rows) if row.temperature > _COLDEST]
        if not warm:
            return _ids(logits.argmax(dim=-1))
        if len(warm) == len(rows):
            return _ids(_draw(logits.float(), rows))
        tokens = _ids(logits.argmax(dim=-1))
        drawn = _ids(_draw(logits[warm].float(), [rows[index] for index in warm]))
        for index, token in zip(warm, drawn, strict=True):
            tokens[index] = token
        return tokens


def _draw(logits: torch.Tensor, rows: Seq[SamplingRow]) -> torch.Tensor:
    def column(values: list[float]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float64, device=logits.device)[:, None]

    vocabulary = logits.shape[-1]
    temperature = column([row.temperature for row in rows])
    top_k = column([row.top_k or vocabulary for row in rows])
    top_p = column([row.top_p for row in rows])
    draws = column([row.draw for row in rows])

    # Stable, so that equals stay in the order of their ids.
    ordered, ids = torch.sort(logits, dim=-1, descending=True, stable=True)
    # Sums of a whole vocabulary in float32 drift by more than rare tokens weigh.
    weights = ((ordered.double() - ordered[:, :1].double()) / temperature).exp()
    weights[torch.arange(vocabulary, device=logits.device) >= top_k] = 0
    sums = weights.cumsum(dim=-1)
    before = sums - weights
    weights[before >= top_p * sums[:, -1:]] = 0
    sums = weights.cumsum(dim=-1)
    chosen = (sums <= draws * sums[:, -1:]).sum(dim=-1, keepdim=True)
    # Rounding may push the draw past the last sum: the last kept token is meant then.
    last_kept = (weights > 0).sum(dim=-1, keepdim=True) - 1
    return ids.gather(-1, torch.minimum(chosen, last_kept))[:, 0]


def _ids(tokens: torch.Tensor) -> list[int]:
    ids: list[int] = tokens.tolist()
    return ids
