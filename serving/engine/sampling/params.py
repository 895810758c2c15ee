"""What a caller may ask of how tokens are chosen."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from serving.engine.errors import InvalidRequest

MAX_LOGPROBS = 20


class GrammarState(Protocol):
    """Where one sequence is in its grammar. Not shared, for the engine thread alone."""

    def allowed(self) -> Any:
        """The tokens that may come next: a contiguous int32 array, a bit for each token of the
        vocabulary, lowest first; the same array, refilled, at each call."""

    def accept(self, token: int) -> None:
        """``token`` has come."""

    @property
    def finished(self) -> bool:
        """Whether nothing may follow."""

    @property
    def error(self) -> str | None:
        """Why it cannot go on, or None."""


class Grammar(Protocol):
    """A compiled form that an answer must have; any number of sequences may start it."""

    def start(self) -> GrammarState: ...


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How to choose tokens. sampler.py states the rule; ``temperature`` 0 is greedy, and the defaults of
    the rest are "off". Raises InvalidRequest.

    ``logprobs`` and ``prompt_logprobs``: None for none, else how many of the most probable tokens to name
    beside the one that stands there, from 0 to 20. ``min_tokens``: before so many no token that would end
    the sequence is chosen. ``logit_bias``: token ids and what is added to their logits.

    Stop *strings* are not here: text is matched outside the engine, which knows token ids only.
    """

    max_tokens: int = 16
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    seed: int | None = None
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    min_tokens: int = 0
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    grammar: Grammar | None = None

    def __post_init__(self) -> None:
        penalties = (self.presence_penalty, self.frequency_penalty)
        counts = [count for count in (self.logprobs, self.prompt_logprobs) if count is not None]
        rules = {
            "max_tokens must be at least 1.": self.max_tokens >= 1,
            "min_tokens must be from 0 to max_tokens.": 0 <= self.min_tokens <= self.max_tokens,
            "min_tokens cannot be joined with a grammar, which says itself when the answer may end.": (
                self.grammar is None or self.min_tokens == 0
            ),
            "temperature must be 0 or more.": 0 <= self.temperature < math.inf,
            "top_p must be above 0 and at most 1.": 0 < self.top_p <= 1,
            "top_k must be 0 (off) or more.": self.top_k >= 0,
            "min_p must be from 0 to 1.": 0 <= self.min_p <= 1,
            "presence_penalty and frequency_penalty must be from -2 to 2.": all(
                -2 <= penalty <= 2 for penalty in penalties
            ),
            "repetition_penalty must be above 0.": 0 < self.repetition_penalty < math.inf,
            "logit_bias must be from -100 to 100.": all(
                -100 <= bias <= 100 for bias in self.logit_bias.values()
            ),
            f"logprobs must be from 0 to {MAX_LOGPROBS}.": all(0 <= n <= MAX_LOGPROBS for n in counts),
        }
        for rule, kept in rules.items():
            if not kept:
                raise InvalidRequest(rule)
