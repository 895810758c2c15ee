"""Which tokens the next step computes. Continuous batching: sequences join and leave between steps.

Each step decodes one token for every running sequence first, then spends at most ``prefill_chunk``
tokens on prompts, so that a long prompt delays the others by one chunk at most: half of it is kept for
the prompt that came first, the rest goes to the shortest ones. When blocks run out the youngest sequence
gives its blocks back and waits; its tokens are kept, so that later they are computed again in one go and
nothing is sampled twice.
"""

from __future__ import annotations

import time
from collections import Counter, OrderedDict, deque
from collections.abc import Iterator

from serving.engine.core import BatchItem, EngineConfig, Sequence
from serving.engine.kv_cache import KVCache


class WaitingQueue:
    """One line per owner. Whoever runs the least goes first; equals take turns."""

    def __init__(self) -> None:
        self._lines: OrderedDict[str, deque[Sequence]] = OrderedDict()

    def __len__(self) -> int:
        return sum(len(line) for line in self._lines.values())

    def __iter__(self) -> Iterator[Sequence]:
        return (sequence for line in self._lines.values() for sequence in line)

    def push(self, sequence: Sequence) -> None:
        self._line(sequence).append(sequence)

    def push_front(self, sequence: Sequence) -> None:
        self._line(sequence).appendleft(sequence)

    def head(self, running: Counter[str]) -> Sequence | None:
        """The sequence to admit next, given how many each owner runs."""
        if not self._lines:
            return None
        return self._lines[min(self._lines, key=lambda owner: running[owner])][0]

    def remove(self, sequence: Sequence) -> None:
        """Take ``sequence`` out; its owner goes behind the others. ValueError when not in."""
        owner = sequence.request.owner
        self._lines[owner].remove(sequence)
        self._lines.move_to_end(owner)
        if not self._lines[owner]:
            del self._lines[owner]

    def _line(self, sequence: Sequence) -> deque[Sequence]:
        return self._lines.setdefault(sequence.request.owner, deque())


class Scheduler:
    """Keeps every open sequence in ``waiting`` or in ``running`` (oldest admission first)."""

    def __init__(self, config: EngineConfig, cache: KVCache) -> None:
        self._config = config
        self._cache = cache
        self.waiting = WaitingQueue()
        self.running: list[Sequence] = []
        self.preemptions = 0

    def add(self, sequence: Sequence) -> None:
        self.waiting.push(sequence)

    def schedule(self) -> list[BatchItem]:
        """The next step's batch. Empty only when there is no work: a sequence that fits the empty
        cache (the caller's duty to check) is always admitted to it."""
        self._grow_running()
        self._admit_waiting()
        decode = [_item(s, 1) for s in self.running if s.num_pending == 1]
        return decode + self._prefill_items()

    def advance(self, batch: list[BatchItem], sampled: list[int]) -> None:
        """Record that ``batch`` was computed and append the ``sampled`` tokens to its items."""
        tokens = iter(sampled)
        for item in batch:
            sequence = item.sequence
            sequence.num_computed = item.start + item.length
            self._cache.publish(sequence, item.start)
            if item.samples:
                sequence.append(next(tokens))

    def remove(self, sequence: Sequence) -> None:
        """Forget a sequence, wherever it is, and free its blocks."""
        if sequence in self.running:
            self.running.remove(sequence)
        else:
            self.waiting.remove(sequence)
        self._cache.release(sequence)

    def _prefill_items(self) -> list[BatchItem]:
        prompts = [sequence for sequence in self.running if sequence.num_pending > 1]
        if not prompts:
            return []
        first, budget = prompts[0], self._config.prefill_chunk
        kept = min(first.num_pending, -(-budget // 2))
        lengths: dict[Sequence, int] = {}
        for prompt in sorted(prompts[1:], key=lambda prompt: prompt.num_pending):
            lengths[prompt] = min(prompt.num_pending, budget - kept)
            budget -= lengths[prompt]
        lengths[first] = min(first.num_pending, budget)
        return [_item(prompt, lengths[prompt]) for prompt in prompts if lengths[prompt]]

    def _grow_running(self) -> None:
        """Blocks for the tokens sampled last step; the youngest make room for the oldest."""
        for sequence in list(self.running):
            while sequence in self.running and not self._cache.grow(sequence):
                self._preempt(self.running[-1])

    def _admit_waiting(self) -> None:
        running = Counter(sequence.request.owner for sequence in self.running)
        while (sequence := self.waiting.head(running)) is not None:
            if len(self.running) < self._config.max_batch_size and self._cache.admit(sequence):
                self.waiting.remove(sequence)
                self.running.append(sequence)
                sequence.started = sequence.started or time.monotonic()
                running[sequence.request.owner] += 1
            elif not self._yield_place(sequence.request.owner, running):
                return

    def _yield_place(self, owner: str, running: Counter[str]) -> bool:
        """Preempt the youngest sequence of the owner who runs the most, when ``owner`` would still
        run no more than they after that. The shares only ever come closer, so this ends."""
        greediest = max(running, key=lambda other: running[other], default=owner)
        if running[greediest] < running[owner] + 2:
            return False
        youngest = next(s for s in reversed(self.running) if s.request.owner == greediest)
        self._preempt(youngest)
        running[greediest] -= 1
        return True

    def _preempt(self, sequence: Sequence) -> None:
        self.running.remove(sequence)
        self._cache.release(sequence)
        self.waiting.push_front(sequence)
        self.preemptions += 1


def _item(sequence: Sequence, length: int) -> BatchItem:
    start = sequence.num_computed
    is_last = start + length == len(sequence.token_ids)
    return BatchItem(sequence, start, length, samples=is_last and sequence.request.pooling is None)
