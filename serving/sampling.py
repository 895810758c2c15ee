"""How tokens are chosen: the fields that /v1/completions and /v1/chat/completions share, and what they
mean to the engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from serving.engine.sampling.params import Grammar, SamplingParams
from serving.errors import BadRequest
from serving.fields import Field, Refused, boolean, integer, number, parse_text, wrong_type
from serving.forms import FORM_FIELDS, Form, take_form

MAX_CHOICES = 128  # sequences of one request: prompts x best_of
MAX_STOPS = 4
MAX_STOP_TOKENS = 64
MAX_BIASES = 1024


@dataclass(frozen=True, slots=True)
class Sampling:
    """``max_tokens`` None: as the endpoint has it. ``best_of`` 0: as many as ``n``. ``logprobs`` and
    ``prompt_logprobs``: None for none, else how many of the likeliest tokens to name."""

    max_tokens: int | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    n: int = 1
    best_of: int = 0
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    seed: int | None = None
    ignore_eos: bool = False
    min_tokens: int = 0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    form: Form | None = None

    @property
    def sequences(self) -> int:
        """How many are generated for each prompt."""
        return max(self.n, self.best_of)

    def params(
        self, max_tokens: int, choice: int, *, echo: bool = False, grammar: Grammar | None = None
    ) -> SamplingParams:
        """For the ``choice``-th of the answers to one prompt: each has a seed of its own. With ``echo`` the
        prompt's logprobs are told as those of the answer."""
        echoed = self.logprobs if echo else None
        wanted = [count for count in (self.prompt_logprobs, echoed) if count is not None]
        ranked = 0 if self.sequences > self.n else None  # best_of goes by them
        return SamplingParams(
            max_tokens=max_tokens,
            min_tokens=self.min_tokens,
            temperature=self.temperature,
            top_p=max(self.top_p, 1e-6),  # OpenAI's 0 means the likeliest token alone
            top_k=max(self.top_k, 0),  # vLLM's -1 means off
            min_p=self.min_p,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            repetition_penalty=self.repetition_penalty,
            logit_bias=self.logit_bias,
            seed=None if self.seed is None else (self.seed + choice) % 2**64,
            stop_token_ids=self.stop_token_ids,
            ignore_eos=self.ignore_eos,
            logprobs=ranked if self.logprobs is None else self.logprobs,
            prompt_logprobs=max(wanted, default=None),
            grammar=grammar,
        )


def make_sampling(values: Mapping[str, Any]) -> Sampling:
    """Of a body's values; those that its endpoint has not have their defaults. Raises BadRequest."""
    known = {name: values[name] for name in Sampling.__slots__ if name in values}
    sampling = Sampling(**known, form=take_form(values))
    if sampling.max_tokens is not None and sampling.min_tokens > sampling.max_tokens:
        raise BadRequest("'min_tokens' must not be more than 'max_tokens'.", param="min_tokens")
    if sampling.form is not None and sampling.min_tokens:
        raise BadRequest(f"'min_tokens' and '{sampling.form.param}' exclude each other.", param="min_tokens")
    return sampling


def _parse_stop(value: Any, path: str) -> tuple[str, ...]:
    stops = [value] if isinstance(value, str) else value
    if not isinstance(stops, list):
        raise wrong_type(path, "a string or an array of strings", value)
    if len(stops) > MAX_STOPS:
        raise BadRequest(f"'{path}' must hold at most {MAX_STOPS} strings; not {len(stops)}.", param=path)
    texts = tuple(parse_text(item, f"{path}[{i}]") for i, item in enumerate(stops))
    if "" in texts:
        raise BadRequest(f"'{path}' must not hold an empty string.", param=path)
    return texts


def _parse_stop_token_ids(value: Any, path: str) -> tuple[int, ...]:
    if not isinstance(value, list):
        raise wrong_type(path, "an array of token ids", value)
    if len(value) > MAX_STOP_TOKENS:
        raise BadRequest(f"'{path}' must hold at most {MAX_STOP_TOKENS} ids; not {len(value)}.", param=path)
    if not all(type(token) is int and 0 <= token < 2**31 for token in value):
        raise BadRequest(f"'{path}' must hold token ids: integers of 0 and above.", param=path)
    return tuple(value)


def _parse_logit_bias(value: Any, path: str) -> dict[int, float]:
    if not isinstance(value, dict):
        raise wrong_type(path, "an object of token ids and numbers", value)
    if len(value) > MAX_BIASES:
        raise BadRequest(f"'{path}' must hold at most {MAX_BIASES} tokens; not {len(value)}.", param=path)
    return {_parse_token(name, path): _BIAS.parse(bias, f"{path}.{name}") for name, bias in value.items()}


def _parse_token(name: str, path: str) -> int:
    if not (name.isascii() and name.isdigit() and len(name) <= 9):
        raise BadRequest(f"'{path}' must have token ids as its names; not '{name}'.", param=path)
    return int(name)


_BIAS = number(-100, 100)

SAMPLING_FIELDS: dict[str, Field | Refused] = {
    "temperature": number(0, 2, 1.0, "0 always takes the likeliest token."),
    "top_p": number(0, 1, 1.0, "Sample from the likeliest tokens that make up this much probability."),
    "top_k": integer(-1, 2**31 - 1, 0, "Sample from this many tokens; 0 or -1 is off."),
    "n": integer(1, MAX_CHOICES, 1, "Answers to each prompt."),
    "stop": Field(
        _parse_stop,
        {
            "description": f"Up to {MAX_STOPS} strings that end the text; they are not part of it.",
            "oneOf": [
                {"type": "string"},
                {"type": "array", "items": {"type": "string"}, "maxItems": MAX_STOPS},
            ],
        },
        default=(),
    ),
    "stop_token_ids": Field(
        _parse_stop_token_ids,
        {
            "type": "array",
            "items": {"type": "integer", "minimum": 0},
            "maxItems": MAX_STOP_TOKENS,
            "description": "Tokens that end the text; they are not part of it (vLLM's).",
        },
        default=(),
    ),
    "seed": integer(-(2**63), 2**63 - 1, about="The same seed and parameters give the same text."),
    "ignore_eos": boolean(about="Go on after the model says that it has finished (vLLM's)."),
    "presence_penalty": number(-2, 2, 0.0, "Above 0, tokens that have come are less likely."),
    "frequency_penalty": number(-2, 2, 0.0, "The same, for each time that they have come."),
    "repetition_penalty": number(
        0.01, 100, 1.0, "Above 1, tokens of prompt and answer are less likely (vLLM's)."
    ),
    "logit_bias": Field(
        _parse_logit_bias,
        {
            "type": "object",
            "description": "Token ids, and what to add to their logits: from -100 to 100.",
            "additionalProperties": {"type": "number", "minimum": -100, "maximum": 100},
            "maxProperties": MAX_BIASES,
        },
        default={},
    ),
    "min_p": number(0, 1, 0.0, "Leave out tokens less likely than this, times the likeliest (vLLM's)."),
    "min_tokens": integer(0, 2**31 - 1, 0, "Do not end before so many tokens (vLLM's)."),
    **FORM_FIELDS,
}
