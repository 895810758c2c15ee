"""The nouns that every part of the engine shares. No torch here, so that the scheduler and the
cache can be read, typed and tested without a model.

    GenerationRequest  what a caller asks for: token ids in, and SamplingParams or the embedding
    Sequence           that request while it runs: its tokens so far and where they lie in the cache
    BatchItem          the part of a sequence that one step computes
    StepResult         what a step computed: sampled tokens; logprobs and hidden states where asked for
    SequenceOutput     what one step has to say about one sequence
    ModelRunner        turns a batch into a StepResult
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from collections.abc import Sequence as Seq
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, Protocol

from serving.engine.sampling.params import GrammarState, SamplingParams

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from serving.engine.sampling.adjustments import Adjustments

    Floats = npt.NDArray[np.float32]

FinishReason = Literal["stop", "length", "abort", "error", "grammar"]  # the last: it cannot be followed
# How a prompt becomes one vector: the mean of its tokens' last hidden states, or the last token's.
Pooling = Literal["mean", "last"]


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """Bounds of one engine. All token counts; ``kv_blocks`` of ``block_size`` tokens each."""

    max_model_len: int
    kv_blocks: int
    block_size: int = 16
    max_batch_size: int = 32
    prefill_chunk: int = 512
    max_waiting: int = 256


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One sequence to generate. ``owner`` names who pays, for fair scheduling among those of one
    ``priority``: a higher one goes before a lower one, and takes its place when there is no other.

    With ``pooling`` nothing is generated: the request ends with its prompt, ``params`` say nothing, and the
    only output has the prompt's embedding.
    """

    request_id: str
    prompt_ids: tuple[int, ...]
    params: SamplingParams = field(default_factory=SamplingParams)
    owner: str = ""
    pooling: Pooling | None = None
    priority: int = 0


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
    needs them. ``prompt_logprobs`` are those known so far, from the prompt's second token on; ``hidden_sum``
    is that of the hidden states pooled so far. ``arrived``, ``started`` (first admitted), ``first_token`` and
    ``last_token`` (so far) are by ``time.monotonic``.
    """

    request: GenerationRequest
    seed: int
    token_ids: list[int]
    num_computed: int = 0
    block_table: list[int] = field(default_factory=list)
    arrived: float = field(default_factory=time.monotonic)
    started: float | None = None
    first_token: float | None = None
    last_token: float | None = None
    compute_seconds: float = 0.0
    adjustments: Adjustments | None = None
    grammar: GrammarState | None = None
    prompt_logprobs: list[TokenLogprobs] = field(default_factory=list)
    hidden_sum: Floats | None = None

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
        wanted = self.params.prompt_logprobs is not None
        return wanted and len(self.prompt_logprobs) < self.num_prompt - 1

    @property
    def needs_whole_prompt(self) -> bool:
        """Whether the prompt must be computed even where the cache has it: for its logprobs, or its mean."""
        return self.lacks_prompt_logprobs or self.request.pooling == "mean"

    def append(self, token: int) -> None:
        """``token`` was sampled."""
        self.token_ids.append(token)
        if self.adjustments is not None:
            self.adjustments.follow(token)
        if self.grammar is not None:
            self.grammar.accept(token)


@dataclass(frozen=True, slots=True)
class BatchItem:
    """Compute ``token_ids[start : start + length]`` of ``sequence``. ``samples`` is true when the
    slice reaches the end of what is known, so that the step must sample the next token; never for
    an embedding."""

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
    def is_last(self) -> bool:
        """Whether the slice reaches the end of what is known."""
        return self.start + self.length == len(self.sequence.token_ids)

    @property
    def pooled(self) -> range:
        """Which of the slice's tokens have hidden states that are part of an embedding."""
        pooling = self.sequence.request.pooling
        if pooling == "mean":
            return range(self.length)
        return range(self.length - (pooling == "last" and self.is_last), self.length)

    @property
    def top_logprobs(self) -> int:
        """The most that any reported token asks for."""
        params = self.sequence.params
        return max(params.logprobs or 0, params.prompt_logprobs or 0)


@dataclass(frozen=True, slots=True)
class StepResult:
    """``token_ids``: one for each item that samples, in the batch's order. ``logprobs``: for each item
    that reports any, by its place in the batch; one for each of ``BatchItem.reported``, in order, with
    ``BatchItem.top_logprobs`` most probable ones. ``hidden_sums``: for each item that pools any, by its
    place, the sum of the hidden states (hidden,) behind the final norm of ``BatchItem.pooled``."""

    token_ids: list[int]
    logprobs: dict[int, list[TokenLogprobs]] = field(default_factory=dict)
    hidden_sums: dict[int, Floats] = field(default_factory=dict)


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

    def __add__(self, later: RequestTimes) -> RequestTimes:
        """Of work that was done one after the other."""
        return RequestTimes(
            self.queue + later.queue,
            self.prefill + later.prefill,
            self.decode + later.decode,
            self.compute + later.compute,
        )

    @classmethod
    def together(cls, times: Iterable[RequestTimes]) -> RequestTimes:
        """Of sequences that ran side by side: the stages of the one that took longest, all their compute."""
        times = list(times)
        if not times:
            return cls(0, 0, 0, 0)
        longest = max(times, key=lambda each: each.queue + each.prefill + each.decode)
        return replace(longest, compute=sum(each.compute for each in times))


@dataclass(frozen=True, slots=True)
class SequenceOutput:
    """News of one sequence. ``token_ids`` are the new ones only; ``completion_tokens`` is the exact
    total so far. The output with a ``finish_reason`` is the last one for its request.

    A token that ends the sequence (eos or one of ``stop_token_ids``) is counted in
    ``completion_tokens`` but is not in ``token_ids``: everything delivered may be turned into text.

    ``logprobs``, if asked for, has one entry for each of ``token_ids``. ``prompt_logprobs``, if asked for,
    come with the first generated token: one for each token of the prompt but the first. ``times`` come
    with the last output. ``embedding``, if asked for, is of length 1.
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
    embedding: Floats | None = None


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
