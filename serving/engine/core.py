"""The nouns that every part of the engine shares. No torch here, so that the scheduler and the
cache can be read, typed and tested without a model.

    GenerationRequest  what a caller asks for: token ids in, SamplingParams
    Grammar            a form that the answer must have; GrammarState is where one sequence is in it
    Sequence           that request while it runs: its tokens so far and where they lie in the cache
    BatchItem          the part of a sequence that one step computes
    StepResult         what a step computed: sampled tokens, and logprobs where they are asked for
    SequenceOutput     what one step has to say about one sequence
    ModelRunner        turns a batch into a StepResult
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from collections.abc import Sequence as Seq
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from serving.engine.adjustments import Adjustments

MAX_LOGPROBS = 20

FinishReason = Literal["stop", "length", "abort", "error"]


class EngineError(Exception):
    """Base of everything the engine raises on purpose.

    EngineError
     ├─ ModelsFileError       models.toml cannot be used; says the line and the mend
     ├─ ModelLoadError        a declared model could not be made ready
     ├─ InvalidRequest        token ids or sampling parameters that cannot be run
     ├─ ContextLengthExceeded prompt and max_tokens do not fit the model's context
     ├─ QueueFull             the waiting queue is at its bound; carries ``retry_after`` seconds
     ├─ DeviceFailed          the device cannot compute any more: the model must be loaded anew
     └─ EngineStopped         the engine thread is not running
    """


class ModelsFileError(EngineError):
    """models.toml cannot be used. The message names the line and what to write instead."""


class ModelLoadError(EngineError):
    """A declared model could not be made ready. The message is one line that says what to do."""


class InvalidRequest(EngineError):
    """Token ids or sampling parameters that no model can run."""


class ContextLengthExceeded(EngineError):
    """The prompt (plus what was asked to be generated) is longer than the model's context."""


class QueueFull(EngineError):
    """The waiting queue is full. ``retry_after``: seconds until a place is likely to be free."""

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"The engine's queue is full; try again in {retry_after:.0f} s.")
        self.retry_after = retry_after


class DeviceFailed(EngineError):
    """The device under the model is lost to this runner. Only loading the model anew can help."""


class EngineStopped(EngineError):
    """The engine is not running: it was never started, was stopped, or its device failed."""


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """Bounds of one engine. All token counts; ``kv_blocks`` of ``block_size`` tokens each."""

    max_model_len: int
    kv_blocks: int
    block_size: int = 16
    max_batch_size: int = 32
    prefill_chunk: int = 512
    max_waiting: int = 256


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


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One sequence to generate. ``owner`` names who pays, for fair scheduling."""

    request_id: str
    prompt_ids: tuple[int, ...]
    params: SamplingParams
    owner: str = ""


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """How probable the model found the token that stands somewhere, and the most probable ones there,
    falling: natural logarithms of softmax over its own logits, before temperature, penalties, bias and
    grammar, as OpenAI and vLLM give them."""

    token_id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(slots=True, eq=False)
class Sequence:
    """A request under way. ``token_ids`` is prompt then output; the first ``num_computed`` of them
    have their keys and values in the cache blocks listed, in order, in ``block_table``.

    ``adjustments`` and ``grammar`` follow ``token_ids``; None where the parameters ask for nothing that
    needs them. ``prompt_logprobs`` are those known so far, from the prompt's second token on. ``arrived``,
    ``started`` (first admitted) and ``first_token`` are by ``time.monotonic``.
    """

    request: GenerationRequest
    seed: int
    token_ids: list[int]
    num_computed: int = 0
    block_table: list[int] = field(default_factory=list)
    arrived: float = field(default_factory=time.monotonic)
    started: float | None = None
    first_token: float | None = None
    compute_seconds: float = 0.0
    adjustments: Adjustments | None = None
    grammar: GrammarState | None = None
    prompt_logprobs: list[TokenLogprobs] = field(default_factory=list)

    @property
    def request_id(self) -> str:
        return self.request.request_id

    @property
    def params(self) -> SamplingParams:
        return self.request.params

    @property
    def num_prompt(self) -> int:
        return len(self.request.prompt_ids)

    @property
    def num_output(self) -> int:
        return len(self.token_ids) - len(self.request.prompt_ids)

    @property
    def num_pending(self) -> int:
        """Known tokens that are not in the cache yet: 1 while decoding, more while prefilling."""
        return len(self.token_ids) - self.num_computed

    @property
    def lacks_prompt_logprobs(self) -> bool:
        """Whether the prompt must be computed, even where the cache has it, for its logprobs."""
        wanted = self.params.prompt_logprobs is not None
        return wanted and len(self.prompt_logprobs) < self.num_prompt - 1

    def append(self, token: int) -> None:
        """``token`` was sampled."""
        if self.first_token is None:
            self.first_token = time.monotonic()
        self.token_ids.append(token)
        if self.adjustments is not None:
            self.adjustments.follow(token)
        if self.grammar is not None:
            self.grammar.accept(token)


@dataclass(frozen=True, slots=True)
class BatchItem:
    """Compute ``token_ids[start : start + length]`` of ``sequence``. ``samples`` is true when the
    slice reaches the end of what is known, so that the step must sample the next token."""

    sequence: Sequence
    start: int
    length: int
    samples: bool

    @property
    def reported(self) -> range:
        """Which of the slice's tokens (0 is the first) are followed by one whose logprobs are asked for:
        what is left of the prompt, and the sampled one behind it."""
        sequence = self.sequence
        first = self.length - self.samples
        if sequence.lacks_prompt_logprobs:
            first = max(0, len(sequence.prompt_logprobs) - self.start)
        return range(first, self.length - (self.samples and sequence.params.logprobs is None))

    @property
    def needed(self) -> range:
        """Which of the slice's tokens need logits at all: those reported, and the last if it samples."""
        reported = self.reported
        return range(min(reported.start, self.length - 1), self.length) if self.samples else reported

    @property
    def top_logprobs(self) -> int:
        """The most that any reported token asks for."""
        params = self.sequence.params
        return max(params.logprobs or 0, params.prompt_logprobs or 0)


@dataclass(frozen=True, slots=True)
class StepResult:
    """``token_ids``: one for each item that samples, in the batch's order. ``logprobs``: for each item
    that reports any, by its place in the batch; one for each of ``BatchItem.reported``, in order, with
    ``BatchItem.top_logprobs`` most probable ones."""

    token_ids: list[int]
    logprobs: dict[int, list[TokenLogprobs]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RequestTimes:
    """Where a request's time went, in seconds: waiting to be admitted, until its first token, and after.
    ``compute``: its share, by tokens, of the steps that it took part in."""

    queue: float
    prefill: float
    decode: float
    compute: float

    @classmethod
    def of(cls, sequence: Sequence) -> RequestTimes:
        """As of now, for a sequence that ends."""
        now = time.monotonic()
        started = now if sequence.started is None else sequence.started
        first_token = now if sequence.first_token is None else sequence.first_token
        return cls(
            started - sequence.arrived, first_token - started, now - first_token, sequence.compute_seconds
        )


@dataclass(frozen=True, slots=True)
class SequenceOutput:
    """News of one sequence. ``token_ids`` are the new ones only; ``completion_tokens`` is the exact
    total so far. The output with a ``finish_reason`` is the last one for its request.

    A token that ends the sequence (eos or one of ``stop_token_ids``) is counted in
    ``completion_tokens`` but is not in ``token_ids``: everything delivered may be turned into text.

    ``logprobs``, if asked for, has one entry for each of ``token_ids``. ``prompt_logprobs``, if asked for,
    come with the first generated token: one for each token of the prompt but the first. ``times`` come
    with the last output.
    """

    request_id: str
    token_ids: tuple[int, ...]
    prompt_tokens: int
    completion_tokens: int
    finish_reason: FinishReason | None = None
    error: str | None = None
    logprobs: tuple[TokenLogprobs, ...] | None = None
    prompt_logprobs: tuple[TokenLogprobs, ...] | None = None
    times: RequestTimes | None = None


class ModelRunner(Protocol):
    """The only part that touches tensors, called by the engine thread alone."""

    name: str
    vocab_size: int
    eos_token_ids: frozenset[int]

    def allocate(self, kv_blocks: int, block_size: int) -> None:
        """Make room for ``kv_blocks`` blocks of keys and values. Raises MemoryError."""

    def run(self, batch: Seq[BatchItem]) -> StepResult:
        """Write the batch's keys and values into the cache and sample.

        Raises MemoryError when there is no memory for the batch: nothing has changed then, and a smaller
        one may do. Raises DeviceFailed when no step can succeed any more.
        """

    def weight_bytes(self) -> int:
        """Bytes the weights take in memory, as quantized."""

    def kv_bytes_per_token(self) -> int:
        """Bytes one token's keys and values take over all layers."""
