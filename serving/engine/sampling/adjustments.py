"""What the parameters and the tokens so far do to a sequence's logits, as a few changes kept up to date
token by token, so that no step reads the whole past again."""

from __future__ import annotations

import math
from array import array
from collections.abc import Collection
from collections.abc import Sequence as Seq

from serving.engine.sampling.params import SamplingParams


class Adjustments:
    """Change the logit of ``ids[i]``: divide it by ``factors[i]`` if it is positive, else multiply; then add
    ``offsets[i]``. sampler.py states the rule that this is part of."""

    @classmethod
    def of(cls, params: SamplingParams, prompt_ids: Seq[int], end_ids: Collection[int]) -> Adjustments | None:
        """None when ``params`` ask for no change. ``end_ids``: the tokens that would end the sequence."""
        penalised = params.presence_penalty or params.frequency_penalty or params.repetition_penalty != 1
        if penalised or params.logit_bias or params.min_tokens:
            return cls(params, prompt_ids, end_ids)
        return None

    def __init__(self, params: SamplingParams, prompt_ids: Seq[int], end_ids: Collection[int]) -> None:
        self.ids, self.factors, self.offsets = array("i"), array("f"), array("f")
        self._params = params
        self._places: dict[int, int] = {}
        self._prompt = frozenset(prompt_ids if params.repetition_penalty != 1 else ())
        self._counts: dict[int, int] = {}
        self._banned = frozenset(end_ids if params.min_tokens else ())
        self._num_output = 0
        for token in sorted({*self._prompt, *params.logit_bias, *self._banned}):
            self._change(token)

    def follow(self, token: int) -> None:
        """``token`` was sampled."""
        self._num_output += 1
        self._counts[token] = self._counts.get(token, 0) + 1
        self._change(token)
        if self._num_output == self._params.min_tokens:
            freed, self._banned = self._banned, frozenset()
            for end in freed:
                self._change(end)

    def _change(self, token: int) -> None:
        place = self._place(token)
        seen = token in self._prompt or token in self._counts
        self.factors[place] = self._params.repetition_penalty if seen else 1
        self.offsets[place] = self._offset(token)

    def _offset(self, token: int) -> float:
        if token in self._banned:
            return -math.inf
        params, count = self._params, self._counts.get(token, 0)
        penalty = params.presence_penalty * (count > 0) + params.frequency_penalty * count
        return params.logit_bias.get(token, 0.0) - penalty

    def _place(self, token: int) -> int:
        place = self._places.get(token)
        if place is None:
            place = self._places[token] = len(self.ids)
            self.ids.append(token)
            self.factors.append(1.0)
            self.offsets.append(0.0)
        return place
