"""Which usage a page asks for: the filters in its URL, parsed once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal

from django.utils import timezone
from django.utils.translation import gettext as _

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
RANGES = {"24h": DAY, "7d": 7 * DAY, "30d": 30 * DAY, "90d": 90 * DAY}
DEFAULT_RANGE = "7d"
LONGEST = 3660 * DAY
HOURLY_UP_TO = 2 * DAY
SOURCES = ("api", "playground")


@dataclass(frozen=True, slots=True)
class UsageFilters:
    """``start`` <= when < ``end``, whole hours in UTC. ``None`` and ``""`` filter nothing."""

    user_id: int | None  # None: everybody's, for an administrator
    start: datetime
    end: datetime
    range: str  # one of RANGES, or "custom"
    key_id: int | None = None
    model: str = ""
    source: str = ""

    @property
    def step(self) -> Literal["hour", "day"]:
        """The width of one point of a series."""
        return "hour" if self.end - self.start <= HOURLY_UP_TO else "day"

    @property
    def first_day(self) -> date:
        return self.start.date()

    @property
    def last_day(self) -> date:
        return (self.end - HOUR).date()


def parse_filters(
    query: Mapping[str, str], user_id: int | None, now: datetime | None = None
) -> tuple[UsageFilters, list[str]]:
    """Filters from a query string: ``range`` or ``from`` and ``to`` (dates, inclusive), ``key`` (an id),
    ``model``, ``source``. A value that makes no sense is left out; the messages tell a person which."""
    messages: list[str] = []
    start, end, name = _parse_period(query, now or timezone.now(), messages)
    source = query.get("source", "")
    if source and source not in SOURCES:
        messages.append(_("There is no source “%(source)s”.") % {"source": source})
        source = ""
    filters = UsageFilters(
        user_id=user_id,
        start=start,
        end=end,
        range=name,
        key_id=_parse_key(query.get("key", ""), messages),
        model=query.get("model", ""),
        source=source,
    )
    return filters, messages


def _parse_period(
    query: Mapping[str, str], now: datetime, messages: list[str]
) -> tuple[datetime, datetime, str]:
    first = _parse_date(query.get("from", ""), messages)
    last = _parse_date(query.get("to", ""), messages)
    if first or last:
        first, last = first or last or now.date(), last or now.date()
        if first <= last < date.max and last - first <= LONGEST:
            return _midnight(first), _midnight(last + DAY), "custom"
        messages.append(_("The first day must come before the last one, by ten years at most."))
    return _parse_range(query.get("range", ""), now, messages)


def _parse_range(text: str, now: datetime, messages: list[str]) -> tuple[datetime, datetime, str]:
    """The range that ends now: whole hours for one of hours, whole days for one of days."""
    if text and text not in RANGES:
        messages.append(_("There is no range “%(range)s”.") % {"range": text})
        text = ""
    name = text or DEFAULT_RANGE
    if RANGES[name] <= HOURLY_UP_TO:
        end = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0) + HOUR
    else:
        end = _midnight(now.astimezone(UTC).date() + DAY)
    return end - RANGES[name], end, name


def _parse_date(text: str, messages: list[str]) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        messages.append(_("“%(text)s” is not a date. Write it as 2026-01-31.") % {"text": text})
        return None


def _parse_key(text: str, messages: list[str]) -> int | None:
    if not text:
        return None
    if text.isascii() and text.isdigit() and len(text) < 19:
        return int(text)
    messages.append(_("There is no key “%(text)s”.") % {"text": text})
    return None


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
