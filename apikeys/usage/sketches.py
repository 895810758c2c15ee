"""Percentiles of how long requests took, without looking at the requests again.

A sketch after DDSketch (Masson, Rim and Lee, "DDSketch: A Fast and Fully-Mergeable Quantile Sketch with
Relative-Error Guarantees", PVLDB 12, 2019). It counts values in buckets whose bounds grow by the factor
GAMMA, so that what it tells is within ACCURACY of a value that was really there; up to 50 it is that value.
Merging adds counts: in whatever order and groups sketches are merged, the result is the same.
"""

from __future__ import annotations

import math
import struct
from collections import Counter
from collections.abc import Iterable

ACCURACY = 0.01
GAMMA = (1 + ACCURACY) / (1 - ACCURACY)
_BUCKETS_PER_E = 1 / math.log(GAMMA)
_BUCKET = struct.Struct("<HI")  # its number, and how many values are in it


class Sketch:
    """Of whole numbers from 0 to 2**31: milliseconds, for example."""

    def __init__(self, packed: bytes = b"") -> None:
        self._counts: Counter[int] = Counter()
        self.merge_packed(packed)

    def __len__(self) -> int:
        """How many values it was given."""
        return self._counts.total()

    def add(self, value: int) -> None:
        self._counts[_bucket(value)] += 1

    def merge(self, other: Sketch) -> None:
        self._counts.update(other._counts)

    def merge_packed(self, packed: bytes) -> None:
        """One sketch as ``pack`` wrote it, or any number of them joined together."""
        counts = self._counts
        for bucket, count in _BUCKET.iter_unpack(packed):
            counts[bucket] += count

    def pack(self) -> bytes:
        """Six bytes for each bucket that has a value."""
        return b"".join(_BUCKET.pack(*pair) for pair in sorted(self._counts.items()))

    def percentile(self, percent: int) -> int | None:
        """By the nearest-rank method. None: it has no values."""
        rank = math.ceil(len(self) * percent / 100)
        for bucket, count in sorted(self._counts.items()):
            rank -= count
            if rank <= 0:
                return _value(bucket)
        return None


def sketch_of(values: Iterable[int]) -> Sketch:
    sketch = Sketch()
    for value in values:
        sketch.add(value)
    return sketch


def _bucket(value: int) -> int:
    """0 for 0; number n holds what is above GAMMA ** (n - 2) and at most GAMMA ** (n - 1)."""
    return 1 + math.ceil(math.log(value) * _BUCKETS_PER_E) if value else 0


def _value(bucket: int) -> int:
    """What is equally far, relatively, from both bounds of a bucket."""
    return round(2 * GAMMA ** (bucket - 1) / (GAMMA + 1)) if bucket else 0
