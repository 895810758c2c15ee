"""Which blocks of the cache belong to whom. Block numbers only: the tensors are the runner's.

A block holds the keys and values of ``block_size`` consecutive tokens. A full block whose contents
are computed is *published* under what it holds, so that a later sequence with the same beginning
takes it instead of computing it again (as in vLLM's automatic prefix caching). Blocks are counted
references; a block nobody refers to is free, but keeps its contents until it is needed.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable

from serving.engine.core import Sequence

# What a block holds: the identity of the block before it, and its own tokens. Compared in full, so
# that two prompts can never be mistaken for each other, as they could by a hash alone.
_Key = tuple[int, tuple[int, ...]]
_NOTHING_BEFORE = 0


class KVCache:
    """Allocates ``num_blocks`` blocks of ``block_size`` tokens to sequences."""

    def __init__(self, num_blocks: int, block_size: int) -> None:
        self.num_blocks = num_blocks
        self.block_size = block_size
        self.prefix_hits = 0
        self.prefix_tokens_reused = 0
        self._references = [0] * num_blocks
        # Least recently used first: the order in which free blocks lose their contents.
        self._free: OrderedDict[int, None] = OrderedDict.fromkeys(range(num_blocks))
        self._published: dict[_Key, int] = {}
        self._key: dict[int, _Key] = {}
        # Identity of what a block holds; never used twice, so a key cannot outlive its parent.
        self._identity: dict[int, int] = {}
        self._last_identity = _NOTHING_BEFORE

    @property
    def num_tokens(self) -> int:
        """How many it holds at most."""
        return self.num_blocks * self.block_size

    @property
    def num_free(self) -> int:
        return len(self._free)

    @property
    def num_used(self) -> int:
        return self.num_blocks - len(self._free)

    def blocks_for(self, num_tokens: int) -> int:
        return -(-num_tokens // self.block_size)

    def admit(self, sequence: Sequence) -> bool:
        """Give a sequence that holds nothing the blocks for all its tokens, published ones where
        they fit, and set ``num_computed``. False, and nothing changed, when there are too few."""
        shared = [] if sequence.needs_whole_prompt else self._find_prefix(sequence.token_ids)
        taken_from_free = sum(1 for block in shared if not self._references[block])
        fresh = self.blocks_for(len(sequence.token_ids)) - len(shared)
        if fresh + taken_from_free > self.num_free:
            return False
        for block in shared:
            self._free.pop(block, None)
            self._references[block] += 1
        sequence.block_table = shared + [self._take_free() for _ in range(fresh)]
        sequence.num_computed = len(shared) * self.block_size
        self.prefix_tokens_reused += sequence.num_computed
        self.prefix_hits += bool(shared)
        return True

    def grow(self, sequence: Sequence) -> bool:
        """Extend ``block_table`` to hold all of ``token_ids``. False, and nothing changed, when
        there are too few blocks."""
        missing = self.blocks_for(len(sequence.token_ids)) - len(sequence.block_table)
        if missing > self.num_free:
            return False
        sequence.block_table += [self._take_free() for _ in range(missing)]
        return True

    def publish(self, sequence: Sequence, first: int) -> None:
        """Let others use the blocks that became full since ``first`` tokens were computed."""
        table, size = sequence.block_table, self.block_size
        for index in range(first // size, sequence.num_computed // size):
            before = self._identity[table[index - 1]] if index else _NOTHING_BEFORE
            key = (before, tuple(sequence.token_ids[index * size : (index + 1) * size]))
            self._publish_block(table[index], key)

    def release(self, sequence: Sequence) -> None:
        """Take all blocks of a sequence back. Its tail is forgotten first, its beginning last."""
        for block in reversed(sequence.block_table):
            self._references[block] -= 1
            if not self._references[block]:
                self._free[block] = None
                if block not in self._key:
                    self._identity.pop(block, None)
                    self._free.move_to_end(block, last=False)
        sequence.block_table = []
        sequence.num_computed = 0

    def check_integrity(self, sequences: Iterable[Sequence]) -> None:
        """Raise AssertionError unless the books balance for ``sequences``, all that hold blocks."""
        held = Counter(block for sequence in sequences for block in sequence.block_table)
        books = {
            "reference counts": self._references == [held[b] for b in range(self.num_blocks)],
            "the free list": set(self._free) == set(range(self.num_blocks)) - set(held),
            "published blocks": self._key == {b: key for key, b in self._published.items()},
            "identities": set(self._key) <= set(self._identity),
        }
        wrong = [name for name, balanced in books.items() if not balanced]
        if wrong:
            raise AssertionError(f"The cache's books do not balance: {', '.join(wrong)}.")

    def _find_prefix(self, token_ids: list[int]) -> list[int]:
        """The published blocks that hold the beginning of ``token_ids``. The last token is always
        left to compute: a step must end in its logits."""
        blocks: list[int] = []
        before, size = _NOTHING_BEFORE, self.block_size
        for start in range(0, (len(token_ids) - 1) // size * size, size):
            block = self._published.get((before, tuple(token_ids[start : start + size])))
            if block is None:
                break
            blocks.append(block)
            before = self._identity[block]
        return blocks

    def _publish_block(self, block: int, key: _Key) -> None:
        existing = self._published.get(key)
        if existing is not None:
            # Two sequences computed the same at the same time. The copy stays private, but what
            # follows it is found under the published one's identity.
            self._identity[block] = self._identity[existing]
            return
        self._last_identity += 1
        self._identity[block] = self._last_identity
        self._published[key] = block
        self._key[block] = key

    def _take_free(self) -> int:
        block, _ = self._free.popitem(last=False)
        if block in self._key:
            del self._published[self._key.pop(block)]
        self._identity.pop(block, None)
        self._references[block] = 1
        return block
