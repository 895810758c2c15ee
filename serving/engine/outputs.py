"""What a step means for a sequence, as the SequenceOutput that its caller gets."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from serving.engine.core import (
    BatchItem,
    FinishReason,
    RequestTimes,
    Sequence,
    SequenceOutput,
    StepResult,
    TokenLogprobs,
)

if TYPE_CHECKING:
    from serving.engine.core import Floats


def judge(index: int, item: BatchItem, result: StepResult, eos: Collection[int]) -> SequenceOutput | None:
    """For the ``index``-th item of a batch; None while its prompt is under way. The prompt's logprobs are
    kept in the sequence until its first token."""
    sequence, params, grammar = item.sequence, item.sequence.params, item.sequence.grammar
    if sequence.request.pooling is not None:
        return _judge_embedding(item, result.hidden_sums.get(index))
    logprobs = _take_logprobs(item, result.logprobs.get(index, []))
    if not item.samples:
        return None
    token = sequence.token_ids[-1]
    if grammar is not None and grammar.error is not None:
        return last_output(sequence, "grammar", f"The grammar cannot be followed: {grammar.error}")
    is_eos = token in eos and (grammar is not None or not params.ignore_eos)
    if is_eos or token in params.stop_token_ids:
        return last_output(sequence, "stop")
    if grammar is not None and grammar.finished:
        return last_output(sequence, "stop", token_ids=(token,), logprobs=logprobs)
    if sequence.num_output >= params.max_tokens:
        return last_output(sequence, "length", token_ids=(token,), logprobs=logprobs)
    return _output(sequence, (token,), logprobs)


def _judge_embedding(item: BatchItem, hidden_sum: Floats | None) -> SequenceOutput | None:
    """Adds what the step has pooled; at the prompt's end the sum becomes the embedding. A mean differs from
    it in length only."""
    sequence = item.sequence
    if hidden_sum is not None:
        begun = sequence.hidden_sum if item.start else None
        sequence.hidden_sum = hidden_sum if begun is None else begun + hidden_sum
    if not item.is_last or sequence.hidden_sum is None:
        return None
    length = float(np.linalg.norm(sequence.hidden_sum))
    if not 0 < length < math.inf:
        return last_output(sequence, "error", "The model's hidden states are not numbers.")
    return replace(last_output(sequence, "stop"), embedding=sequence.hidden_sum / np.float32(length))


def last_output(
    sequence: Sequence,
    reason: FinishReason,
    error: str | None = None,
    token_ids: tuple[int, ...] = (),
    logprobs: tuple[TokenLogprobs, ...] = (),
) -> SequenceOutput:
    return _output(sequence, token_ids, logprobs, reason, error, RequestTimes.of(sequence))


def _output(
    sequence: Sequence,
    token_ids: tuple[int, ...],
    logprobs: tuple[TokenLogprobs, ...],
    reason: FinishReason | None = None,
    error: str | None = None,
    times: RequestTimes | None = None,
) -> SequenceOutput:
    params, is_first = sequence.params, sequence.num_output == 1
    of_prompt = tuple(sequence.prompt_logprobs) if is_first and params.prompt_logprobs is not None else None
    return SequenceOutput(
        sequence.request_id,
        token_ids,
        sequence.num_prompt,
        sequence.num_output,
        reason,
        error,
        logprobs if params.logprobs is not None else None,
        of_prompt,
        times,
    )


def _take_logprobs(item: BatchItem, told: list[TokenLogprobs]) -> tuple[TokenLogprobs, ...]:
    """Those of the sampled token; the prompt's go into the sequence."""
    params = item.sequence.params
    of_prompt = len(told) - (item.samples and params.logprobs is not None)
    item.sequence.prompt_logprobs += [_first(one, params.prompt_logprobs) for one in told[:of_prompt]]
    return tuple(_first(one, params.logprobs) for one in told[of_prompt:])


def _first(one: TokenLogprobs, top: int | None) -> TokenLogprobs:
    """The runner names as many as the prompt or the output asks for, whichever is more."""
    return one if len(one.top) == top else TokenLogprobs(one.token_id, one.logprob, one.top[:top])
