"""A model without tensors: its next token is a function of all tokens before it, which it reads from
the cache blocks that the scheduler gave it, so that any mistake with blocks changes the output."""

from __future__ import annotations

from collections.abc import Sequence as Seq

from serving.engine.core import BatchItem, StepResult

VOCAB = 1000


def next_token(tokens: Seq[int]) -> int:
    return (sum(token * (index + 3) for index, token in enumerate(tokens)) * 31 + len(tokens)) % VOCAB


def continuation(prompt: Seq[int], length: int) -> list[int]:
    tokens = list(prompt)
    for _ in range(length):
        tokens.append(next_token(tokens))
    return tokens[len(prompt) :]


class BlockRunner:
    """A ``ModelRunner`` whose "keys and values" are the token ids themselves."""

    name = "fake"
    vocab_size = VOCAB

    def __init__(self, eos_token_ids: frozenset[int] = frozenset()) -> None:
        self.eos_token_ids = eos_token_ids
        self.batches: list[list[tuple[str, int, int]]] = []
        self.fail_next: Exception | None = None

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
        return StepResult([self._sample(item) for item in batch if item.samples])

    def weight_bytes(self) -> int:
        return 0

    def kv_bytes_per_token(self) -> int:
        return 8

    def _slot(self, item: BatchItem, position: int) -> int:
        block = item.sequence.block_table[position // self.block_size]
        return block * self.block_size + position % self.block_size

    def _sample(self, item: BatchItem) -> int:
        end = item.start + item.length
        return next_token([self.slots[self._slot(item, position)] for position in range(end)])
