"""An engine to test, on a model without tensors. Its next token is a function of all tokens before it, which
it reads from the cache blocks that the scheduler gave it: any mistake with blocks changes the output."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Sequence as Seq
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.engine.core import (
    BatchItem,
    EngineConfig,
    GenerationRequest,
    Pooling,
    SequenceOutput,
    StepResult,
)
from serving.engine.engine import Engine
from serving.engine.sampling.params import SamplingParams

VOCAB = 1000


def next_token(tokens: Seq[int]) -> int:
    return (sum(token * (index + 3) for index, token in enumerate(tokens)) * 31 + len(tokens)) % VOCAB


def continuation(prompt: Seq[int], length: int) -> list[int]:
    tokens = list(prompt)
    for _ in range(length):
        tokens.append(next_token(tokens))
    return tokens[len(prompt) :]


def hidden_of(tokens: Seq[int]) -> npt.NDArray[np.float32]:
    """The embedding of ``tokens``: each token's hidden state is what it is, and where."""
    summed = np.array([[token + 1, place] for place, token in enumerate(tokens)], np.float32).sum(axis=0)
    unit: npt.NDArray[np.float32] = summed / np.linalg.norm(summed)
    return unit


class BlockRunner:
    """A ``ModelRunner`` whose "keys and values" are the token ids themselves."""

    name = "fake"
    vocab_size = VOCAB

    def __init__(self, eos_token_ids: frozenset[int] = frozenset()) -> None:
        self.eos_token_ids = eos_token_ids
        self.batches: list[list[tuple[str, int, int]]] = []
        self.fail_next: Exception | None = None
        self.hidden_factor = 1.0

    def allocate(self, kv_blocks: int, block_size: int) -> None:
        self.block_size = block_size
        self.slots = [-1] * (kv_blocks * block_size)

    def run(self, batch: Seq[BatchItem]) -> StepResult:
        self.batches.append([(i.sequence.request_id, i.start, i.length) for i in batch])
        if self.fail_next is not None:
            error, self.fail_next = self.fail_next, None
            raise error
        for item in batch:
            for position in range(item.start, item.start + item.length):
                self.slots[self._slot(item, position)] = item.sequence.token_ids[position]
        sums = {index: self._hidden_sum(item) for index, item in enumerate(batch) if item.pooled}
        return StepResult([self._sample(item) for item in batch if item.samples], hidden_sums=sums)

    def weight_bytes(self) -> int:
        return 0

    def kv_bytes_per_token(self) -> int:
        return 8

    def _slot(self, item: BatchItem, position: int) -> int:
        block = item.sequence.block_table[position // self.block_size]
        return block * self.block_size + position % self.block_size

    def _hidden_sum(self, item: BatchItem) -> npt.NDArray[np.float32]:
        places = [item.start + row for row in item.pooled]
        states = [[self.slots[self._slot(item, place)] + 1, place] for place in places]
        summed: npt.NDArray[np.float32] = np.array(states, np.float32).sum(axis=0)
        return summed * np.float32(self.hidden_factor)

    def _sample(self, item: BatchItem) -> int:
        end = item.start + item.length
        return next_token([self.slots[self._slot(item, position)] for position in range(end)])


CONFIG = EngineConfig(
    max_model_len=100, kv_blocks=32, block_size=4, max_batch_size=4, prefill_chunk=8, max_waiting=4
)


class House:
    """An engine on a fake model, and what it delivered."""

    def __init__(
        self, eos: frozenset[int] = frozenset(), runner: BlockRunner | None = None, **changes: int
    ) -> None:
        self.config = replace(CONFIG, **changes)
        self.runner = runner or BlockRunner(eos)
        self.outputs: dict[str, list[SequenceOutput]] = defaultdict(list)
        self.done = threading.Condition()
        self.engine = Engine(self.config, self.runner, self.deliver)

    def deliver(self, outputs: list[SequenceOutput]) -> None:
        with self.done:
            for output in outputs:
                self.outputs[output.request_id].append(output)
            self.done.notify_all()

    def submit(
        self,
        name: str,
        prompt: tuple[int, ...] = (1, 2, 3),
        owner: str = "",
        pooling: Pooling | None = None,
        priority: int = 0,
        **params: Any,
    ) -> None:
        wanted = SamplingParams(**{"max_tokens": 5, **params})
        self.engine.submit(GenerationRequest(name, prompt, wanted, owner, pooling, priority))

    def steps(self, count: int) -> None:
        for _ in range(count):
            self.engine.step()
            self.engine.check_integrity()

    def tokens(self, name: str) -> list[int]:
        return [token for output in self.outputs[name] for token in output.token_ids]

    def last(self, name: str) -> SequenceOutput:
        return self.outputs[name][-1]

    def wait_for(self, name: str) -> SequenceOutput:
        with self.done:
            ended = self.done.wait_for(
                lambda: self.outputs[name] and self.outputs[name][-1].finish_reason, timeout=10
            )
            assert ended, f"{name} did not end"
            return self.last(name)
