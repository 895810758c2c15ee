"""How probable a model finds tokens, from logits in torch. native/kernels/logprobs.c is the same in C."""

from __future__ import annotations

from collections.abc import Sequence as Seq

import torch

from serving.engine.core import BatchItem, TokenLogprobs
from serving.engine.sampling.sampler import most_probable

# Rows worked on at once: a long prompt's log-softmax over a large vocabulary would take gigabytes.
_ROWS = 128


def batch_logprobs(
    batch: Seq[BatchItem], logits: torch.Tensor, ends: Seq[int], sampled: Seq[int]
) -> dict[int, list[TokenLogprobs]]:
    """``StepResult.logprobs`` of a batch whose ``BatchItem.needed`` rows of logits follow each other; those
    of item i end before row ``ends[i]``. ``sampled``: the step's new tokens."""
    told: dict[int, list[TokenLogprobs]] = {}
    new_tokens = iter(sampled)
    for index, item in enumerate(batch):
        new = [next(new_tokens)] if item.samples else []
        if reported := item.reported:
            first = ends[index] - len(item.needed)
            following = item.sequence.token_ids[item.start + 1 : item.start + 1 + item.length] + new
            tokens = following[reported.start : reported.stop]
            told[index] = rank_logprobs(logits[first : first + len(tokens)], tokens, item.top_logprobs)
    return told


def rank_logprobs(logits: torch.Tensor, token_ids: Seq[int], top: int) -> list[TokenLogprobs]:
    """For each row of ``logits`` (rows, vocabulary) the one of ``token_ids`` that follows it, and the ``top``
    most probable tokens, falling, equals by rising id."""
    told: list[TokenLogprobs] = []
    for first in range(0, len(token_ids), _ROWS):
        tokens = list(token_ids[first : first + _ROWS])
        logprobs = logits[first : first + _ROWS].float().log_softmax(dim=-1)
        stands = logprobs.gather(-1, torch.tensor(tokens, device=logits.device)[:, None])[:, 0].tolist()
        values, ids = most_probable(logprobs, top)
        ranked = [tuple(zip(*row, strict=True)) for row in zip(ids.tolist(), values.tolist(), strict=True)]
        told += map(TokenLogprobs, tokens, stands, ranked)
    return told
