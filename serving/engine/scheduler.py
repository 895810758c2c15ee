"""Which tokens the next step computes. Continuous batching: sequences join and leave between steps.

Each step decodes one token for every running sequence first, then spends at most ``prefill_chunk``
tokens on prompts, so that a long prompt delays the others by one chunk at most: half of it is kept for
the prompt that came first, the rest goes to the shortest ones. When blocks run out the youngest sequence
gives its blocks back and waits; its tokens are kept, so that later they are computed again in one go and
nothing is sampled twice.

In all this a higher priority comes first: one of a lower is admitted when none of a higher waits, gets what
those leave of the prompts' share, and gives up its place and its blocks to them.
"""

from __future__ import annotations

import time
from collections import Counter, OrderedDict, deque
from collections.abc import Iterator
from typing import NamedTuple

from serving.engine.core import BatchItem, EngineConfig, Sequence
from serving.engine.kv_cache import KVCache


class Line(NamedTuple):
    """Sequences that take turns with those of other owners, and give way to those of a higher priority."""

    priority: int
    owner: str

    @classmethod
    def of(cls, sequence: Sequence) -> Line:
        return cls(sequence.request.priority, sequence.request.owner)


class WaitingQueue:
    """One line per priority and owner. Of the highest priority, whoever runs the least goes first; equals
    take turns."""

    def __init__(self) -> None:
        self._lines: OrderedDict[Line, deque[Sequence]] = OrderedDict()

    def __len__(self) -> int:
        return sum(len(line) for line in self._lines.values())

    def __iter__(self) -> Iterator[Sequence]:
        return (sequence for line in self._lines.values() for sequence in line)

    def push(self, sequence: Sequence) -> None:
        self._line(sequence).append(sequence)

    def push_front(self, sequence: Sequence) -> None:
        self._line(sequence).appendleft(sequence)

    def head(self, running: Counter[Line]) -> Sequence | None:
        """The sequence to admit next, given how many of each line run."""
        if not self._lines:
            return None
        return self._lines[min(self._lines, key=lambda line: (-line.priority, running[line]))][0]

    def remove(self, sequence: Sequence) -> None:
        """Take ``sequence`` out; its owner goes behind the others. ValueError when not in."""
        line = Line.of(sequence)
        self._lines[line].remove(sequence)
        self._lines.move_to_end(line)
        if not self._lines[line]:
            del self._lines[line]

    def _line(self, sequence: Sequence) -> deque[Sequence]:
        return self._lines.setdefault(Line.of(sequence), deque())


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
        prompts.sort(key=lambda prompt: -prompt.request.priority)
        first, budget = prompts[0], self._config.prefill_chunk
        half = -(-budget // 2)
        lengths: dict[Sequence, int] = {}
        for prompt in sorted(prompts[1:], key=lambda prompt: (-prompt.request.priority, prompt.num_pending)):
            equal = prompt.request.priority == first.request.priority
            kept = min(first.num_pending, half if equal else budget)
            lengths[prompt] = min(prompt.num_pending, budget - kept)
            budget -= lengths[prompt]
        lengths[first] = min(first.num_pending, budget)
        return [_item(prompt, lengths[prompt]) for prompt in prompts if lengths[prompt]]

    def _grow_running(self) -> None:
        """Blocks for the tokens sampled last step; the youngest of the lowest priority make room."""
        for sequence in list(self.running):
            while sequence in self.running and not self._cache.grow(sequence):
                self._preempt(min(reversed(self.running), key=lambda other: other.request.priority))

    def _admit_waiting(self) -> None:
        running = Counter(map(Line.of, self.running))
        while (sequence := self.waiting.head(running)) is not None:
            if len(self.running) < self._config.max_batch_size and self._cache.admit(sequence):
                self.waiting.remove(sequence)
                self.running.append(sequence)
                sequence.started = sequence.started or time.monotonic()
                running[Line.of(sequence)] += 1
            elif not self._yield_place(Line.of(sequence), running):
                return

    def _yield_place(self, line: Line, running: Counter[Line]) -> bool:
        """Preempt the youngest sequence of whoever runs the most of the lowest priority: when that is below
        the priority of ``line``, or when this one would still run no more than they after that. The shares
        only ever come closer, so this ends."""
        greediest = min(+running, key=lambda other: (other.priority, -running[other]), default=line)
        unfair = greediest.priority == line.priority and running[greediest] >= running[line] + 2
        if not unfair and greediest.priority >= line.priority:
            return False
        self._preempt(next(s for s in reversed(self.running) if Line.of(s) == greediest))
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
