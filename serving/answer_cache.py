"""Answers that need not be computed again, for keys that want that (``ApiKey.caches_answers``): the same
request of the same project, where nothing is left to chance.

What is kept is what the engine said, token ids step by step. So a hit goes through the same CompletionStream
as any other request, and is told in whatever shape it was asked for: whole or streamed, as a chat of OpenAI's
or a message of Anthropic's, with an id of its own.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Sequence
from dataclasses import replace

from django.core.cache import caches

from apikeys.auth import Caller
from serving.backends import Backend, Generation
from serving.chat.schemas import ChatRequest
from serving.engine.core import GenerationRequest, SequenceOutput
from serving.schemas import CompletionRequest

LASTS = 3600.0  # seconds that an answer is kept
LARGEST = 256 * 1024  # bytes of one answer; more are not kept


class Slot:
    """The place of one request's answer."""

    def __init__(self, name: str) -> None:
        self._name = name

    async def find(self) -> list[SequenceOutput] | None:
        """Of each output, ``request_id`` is the number of its choice."""
        kept: bytes | None = await caches["answers"].aget(self._name)
        return None if kept is None else pickle.loads(kept)  # noqa: S301 (nobody else writes there)

    async def fill(self, outputs: Sequence[SequenceOutput]) -> None:
        """All of one answer's, in their order."""
        kept = pickle.dumps(outputs)
        if len(kept) <= LARGEST:
            await caches["answers"].aset(self._name, kept, LASTS)


def slot_of(caller: Caller, backend: Backend, request: CompletionRequest | ChatRequest) -> Slot | None:
    """None where the key does not ask for it, or chance has a part in the answer."""
    sampling = request.sampling
    if not caller.caches_answers or (sampling.temperature > 0 and sampling.seed is None):
        return None
    # The model by its own name, and neither how the answer is sent nor a seed that has no effect.
    if sampling.temperature == 0:
        sampling = replace(sampling, seed=None)
    asked = replace(request, model=backend.name, sampling=sampling, stream=False, include_usage=False)
    whose = f"{caller.project_id} {backend.fingerprint} {asked!r}"
    return Slot(hashlib.sha256(whose.encode(errors="surrogatepass")).hexdigest())


class Rerun:
    """A Backend that says once more what ``backend`` said before: ``completion_tokens`` in all."""

    def __init__(self, backend: Backend, outputs: Sequence[SequenceOutput]) -> None:
        self._outputs = outputs
        last = {output.request_id: output.completion_tokens for output in outputs}
        self.completion_tokens = sum(last.values())
        self.name, self.fingerprint = backend.name, backend.fingerprint
        self.context_length, self.tokenizer = backend.context_length, backend.tokenizer
        self.hidden_size, self.pooling = backend.hidden_size, backend.pooling
        self.grammars, self.health = backend.grammars, backend.health

    def generate(self, requests: Sequence[GenerationRequest]) -> Generation:
        ids = [request.request_id for request in requests]
        self._generation = generation = Generation(ids)
        for output in self._outputs:
            told = replace(output, request_id=ids[int(output.request_id)])
            generation.count(told)
            generation.tell(told)
        return generation

    def abort(self, request_id: str) -> None:
        """Nothing runs; but where a stop string ended it then, the last output never came."""
        made = self._generation.completion_tokens(request_id)
        self._generation.count(SequenceOutput(request_id, (), 0, made, "abort"))
