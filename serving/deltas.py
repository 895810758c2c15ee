"""From the tokens of a sequence to text: what is new of each choice of an answer, Delta by Delta."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from serving.backends import Backend
from serving.chat.schemas import ChatRequest
from serving.engine.core import GenerationRequest, SequenceOutput, TokenLogprobs
from serving.engine.detokenizer import Detokenizer, StopMatcher
from serving.logprobs import UNKNOWN
from serving.prompts import TokenizedPrompt
from serving.receipts import Receipt
from serving.sampling import Sampling
from serving.schemas import CompletionRequest
from serving.tools.parser import CallParser, Piece


@dataclass(frozen=True, slots=True)
class Delta:
    """What is new of one choice. ``token_ids`` may be there before the text that they make is certain;
    the delta with a ``finish_reason`` is the choice's last."""

    index: int
    text: str
    token_ids: tuple[int, ...] = ()
    finish_reason: str | None = None
    stop_string: str | None = None  # the one that finished it
    logprobs: tuple[TokenLogprobs, ...] = ()  # of ``token_ids``, if asked for; with echo the prompt's too
    prompt_logprobs: tuple[TokenLogprobs, ...] | None = None  # from its second token on, if asked for
    pieces: tuple[Piece, ...] = ()  # the text in its order with the calls of tools


SILENCE = Delta(-1, "")  # nothing has come


class ChoiceText:
    """One sequence on its way to text."""

    def __init__(
        self,
        index: int,
        request: GenerationRequest,
        backend: Backend,
        sampling: Sampling,
        prompt: TokenizedPrompt,
    ) -> None:
        self.index = index
        self.request = request
        self.completion_tokens = 0
        self.finish_reason: str | None = None
        self.said, self.news = "", ""  # all text so far, and the latest of it: calls as the model wrote them
        self._sampling = sampling
        self._echo = prompt.echo
        self._detokenizer, self._calls = Detokenizer(backend.tokenizer.decode), None
        if prompt.dialect is not None:
            decode = functools.partial(backend.tokenizer.decode, shown=prompt.dialect.shown)
            self._detokenizer = Detokenizer(decode)
            self._calls = CallParser(prompt.dialect.format, request.request_id)
        self._stops = StopMatcher(sampling.stop)

    def echo(self) -> Delta | None:
        """The prompt, before there is any token; with logprobs it must wait for those."""
        if not self._echo or self._sampling.logprobs is not None:
            return None
        echo, self._echo = self._echo, ""
        return Delta(self.index, echo, pieces=(echo,))

    def take(self, output: SequenceOutput) -> Delta:
        """Tokens after the one that completes a stop string are not the caller's: not counted."""
        text, self._echo = self._echo, ""
        told = self._echoed_logprobs(output) if text else ()
        for used, token in enumerate(output.token_ids, start=1):
            self.completion_tokens += 1
            text += self._stops.feed(self._detokenizer.feed((token,)))
            if self._stops.matched is not None:
                return self._delta(output, text, told, used, "stop")
        self.completion_tokens = output.completion_tokens
        if output.finish_reason is not None:
            text += self._stops.feed(self._detokenizer.finish()) + self._stops.finish()
        reason = output.finish_reason if self._stops.matched is None else "stop"
        return self._delta(output, text, told, len(output.token_ids), reason)

    def _delta(
        self,
        output: SequenceOutput,
        text: str,
        told: tuple[TokenLogprobs, ...],
        used: int,
        reason: str | None,
    ) -> Delta:
        self.news = text
        pieces: list[Piece] = [text] if text else []
        if self._calls is not None:
            pieces = self._calls.feed(text) + (self._calls.finish() if reason is not None else [])
            text = "".join(piece for piece in pieces if isinstance(piece, str))
            reason = "tool_calls" if reason == "stop" and self._calls.has_called else reason
        self.finish_reason = reason
        return Delta(
            self.index,
            text,
            output.token_ids[:used],
            reason,
            self._stops.matched,
            told + (output.logprobs or ())[:used],
            output.prompt_logprobs if self._sampling.prompt_logprobs is not None else None,
            tuple(pieces),
        )

    def _echoed_logprobs(self, output: SequenceOutput) -> tuple[TokenLogprobs, ...]:
        first = TokenLogprobs(self.request.prompt_ids[0], UNKNOWN)
        return (first, *(output.prompt_logprobs or ()))


def choices_of(
    request: CompletionRequest | ChatRequest,
    receipt: Receipt,
    backend: Backend,
    prompts: list[TokenizedPrompt],
) -> dict[str, ChoiceText]:
    """By the id of their sequence: prompts x n (or best_of), in OpenAI's order."""
    sampling = request.sampling
    choices: dict[str, ChoiceText] = {}
    for prompt in prompts:
        for i in range(sampling.sequences):
            index = len(choices)
            sequence = GenerationRequest(
                request_id=f"{receipt.request_id}-{index}",
                prompt_ids=prompt.token_ids,
                params=sampling.params(prompt.max_tokens, i, echo=bool(prompt.echo), grammar=prompt.grammar),
                owner=receipt.caller.owner,
                priority=receipt.caller.priority,
            )
            choices[sequence.request_id] = ChoiceText(index, sequence, backend, sampling, prompt)
    return choices
