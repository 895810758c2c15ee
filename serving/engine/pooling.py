"""From the hidden states of a prompt to one vector that stands for it.

The mean over all tokens is the default: the last token's state was trained to foretell the next token, which
need not say much of the text, and in a mean every token has its say. Models made for embeddings name in
``1_Pooling/config.json`` (sentence-transformers' file) what they were trained with.
"""

from __future__ import annotations

import json
from collections.abc import Sequence as Seq
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from serving.engine.core import BatchItem, Pooling
from serving.engine.errors import ModelLoadError
from serving.engine.saying import say

if TYPE_CHECKING:
    from serving.engine.core import Floats


def pooling_of(folder: Path) -> Pooling:
    """For the model in ``folder``. Raises ModelLoadError for a way of pooling that there is not here."""
    try:
        declared = json.loads((folder / "1_Pooling" / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return "mean"
    if declared.get("pooling_mode_lasttoken"):
        return "last"
    if declared.get("pooling_mode_mean_tokens"):
        return "mean"
    raise ModelLoadError(
        say("%(folder)s asks for neither the mean nor the last token.", folder=folder / "1_Pooling")
    )


def hidden_sums(batch: Seq[BatchItem], first_rows: Seq[int], hidden: torch.Tensor) -> dict[int, Floats]:
    """``StepResult.hidden_sums``, of the batch's ``hidden`` states (tokens, hidden) behind the final norm;
    those of item i begin at row ``first_rows[i]``."""
    sums: dict[int, Floats] = {}
    for index, (item, first) in enumerate(zip(batch, first_rows, strict=True)):
        if rows := item.pooled:
            pooled = hidden[first + rows.start : first + rows.stop]
            sums[index] = pooled.float().sum(dim=0).cpu().numpy()
    return sums
