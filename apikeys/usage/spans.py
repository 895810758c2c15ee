"""A period taken apart into the widest rollups that fit: weeks in the middle, days beside them, and so on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from apikeys.models import WIDTHS, Width

MONDAY = datetime(1970, 1, 5, tzinfo=UTC)
WIDEST_FIRST: Sequence[Width] = sorted(WIDTHS, key=WIDTHS.__getitem__, reverse=True)


@dataclass(frozen=True, slots=True)
class Span:
    """The rollups of ``width`` that begin at ``start`` <= when < ``end``."""

    width: Width
    start: datetime
    end: datetime


def begin_of(at: datetime, width: Width) -> datetime:
    """Of the minute, hour, day or week in UTC that ``at`` is in. Weeks begin on Monday."""
    return at - (at - MONDAY) % WIDTHS[width]


def spans_of(
    start: datetime, end: datetime, finest: Width, widths: Sequence[Width] = WIDEST_FIRST
) -> Iterator[Span]:
    """In the order of time. ``start`` and ``end`` are the begin of a ``finest`` each."""
    if start >= end:
        return
    width, *narrower = widths
    if width == finest:
        yield Span(width, start, end)
        return
    first, last = begin_of(start + WIDTHS[width] - WIDTHS[finest], width), begin_of(end, width)
    if first >= last:
        yield from spans_of(start, end, finest, narrower)
        return
    yield from spans_of(start, first, finest, narrower)
    yield Span(width, first, last)
    yield from spans_of(last, end, finest, narrower)
