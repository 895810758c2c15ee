"""What a step means for a sequence, as the SequenceOutput that its caller gets."""

from __future__ import annotations

from collections.abc import Collection

from serving.engine.core import BatchItem, FinishReason, RequestTimes, Sequence, SequenceOutput, TokenLogprobs


def judge(item: BatchItem, told: list[TokenLogprobs], eos: Collection[int]) -> SequenceOutput | None:
    """For a computed item; None while its prompt is under way. ``told``: the logprobs of ``item.reported``;
    the prompt's are kept in the sequence until its first token."""
    sequence, params, grammar = item.sequence, item.sequence.params, item.sequence.grammar
    logprobs = _take_logprobs(item, told)
    if not item.samples:
        return None
    token = sequence.token_ids[-1]
    if grammar is not None and grammar.error is not None:
        return last_output(sequence, "error", f"The grammar cannot be followed: {grammar.error}")
    is_eos = token in eos and (grammar is not None or not params.ignore_eos)
    if is_eos or token in params.stop_token_ids:
        return last_output(sequence, "stop")
    if grammar is not None and grammar.finished:
        return last_output(sequence, "stop", token_ids=(token,), logprobs=logprobs)
    if sequence.num_output >= params.max_tokens:
        return last_output(sequence, "length", token_ids=(token,), logprobs=logprobs)
    return _output(sequence, (token,), logprobs)


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
