"""The nouns that every part of the engine shares. No torch here, so that the scheduler and the
cache can be read, typed and tested without a model.

    GenerationRequest  what a caller asks for: token ids in, SamplingParams
    Sequence           that request while it runs: its tokens so far and where they lie in the cache
    BatchItem          the part of a sequence that one step computes
    SequenceOutput     what one step has to say about one sequence
    ModelRunner        turns a batch into one sampled token for every item that asks for one
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence as Seq
from dataclasses import dataclass, field
from typing import Literal, Protocol

FinishReason = Literal["stop", "length", "abort", "error"]


class EngineError(Exception):
    """Base of everything the engine raises on purpose.

    EngineError
     ├─ ModelsFileError       models.toml cannot be used; says the line and the mend
     ├─ ModelLoadError        a declared model could not be made ready
     ├─ InvalidRequest        token ids or sampling parameters that cannot be run
     ├─ ContextLengthExceeded prompt and max_tokens do not fit the model's context
     ├─ QueueFull             the waiting queue is at its bound; carries ``retry_after`` seconds
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


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How to choose tokens. ``temperature`` 0 is greedy; ``top_k`` 0 and ``top_p`` 1 are off.

    Stop *strings* are not here: text is matched outside the engine, which knows token ids only.
    """

    max_tokens: int = 16
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise InvalidRequest("max_tokens must be at least 1.")
        if not 0 <= self.temperature < math.inf:
            raise InvalidRequest("temperature must be 0 or more.")
        if not 0 < self.top_p <= 1:
            raise InvalidRequest("top_p must be above 0 and at most 1.")
        if self.top_k < 0:
            raise InvalidRequest("top_k must be 0 (off) or more.")


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One sequence to generate. ``owner`` names who pays, for fair scheduling."""

    request_id: str
    prompt_ids: tuple[int, ...]
    params: SamplingParams
    owner: str = ""


@dataclass(slots=True, eq=False)
class Sequence:
    """A request under way. ``token_ids`` is prompt then output; the first ``num_computed`` of them
    have their keys and values in the cache blocks listed, in order, in ``block_table``."""

    request: GenerationRequest
    seed: int
    token_ids: list[int]
    num_computed: int = 0
    block_table: list[int] = field(default_factory=list)
    arrived: float = field(default_factory=time.monotonic)

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


@dataclass(frozen=True, slots=True)
class BatchItem:
    """Compute ``token_ids[start : start + length]`` of ``sequence``. ``samples`` is true when the
    slice reaches the end of what is known, so that the step must sample the next token."""

    sequence: Sequence
    start: int
    length: int
    samples: bool


@dataclass(frozen=True, slots=True)
class SequenceOutput:
    """News of one sequence. ``token_ids`` are the new ones only; ``completion_tokens`` is the exact
    total so far. The output with a ``finish_reason`` is the last one for its request.

    A token that ends the sequence (eos or one of ``stop_token_ids``) is counted in
    ``completion_tokens`` but is not in ``token_ids``: everything delivered may be turned into text.
    """

    request_id: str
    token_ids: tuple[int, ...]
    prompt_tokens: int
    completion_tokens: int
    finish_reason: FinishReason | None = None
    error: str | None = None


class ModelRunner(Protocol):
    """The only part that touches tensors, called by the engine thread alone."""

    name: str
    vocab_size: int
    eos_token_ids: frozenset[int]

    def allocate(self, kv_blocks: int, block_size: int) -> None:
        """Make room for ``kv_blocks`` blocks of keys and values. Raises MemoryError."""

    def run(self, batch: Seq[BatchItem]) -> list[int]:
        """Write the batch's keys and values into the cache and sample. Returns one token id for
        each item with ``samples`` set, in the batch's order."""

    def weight_bytes(self) -> int:
        """Bytes the weights take in memory, as quantized."""

    def kv_bytes_per_token(self) -> int:
        """Bytes one token's keys and values take over all layers."""
