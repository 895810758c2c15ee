"""Which usage a page asks for: the filters in its URL, parsed once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext as _

from apikeys.models import WIDTHS, Width

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
RANGES = {"1h": HOUR, "24h": DAY, "7d": 7 * DAY, "30d": 30 * DAY, "90d": 90 * DAY}
DEFAULT_RANGE = "7d"
LONGEST = 3660 * DAY
HOURLY_UP_TO = 2 * DAY
STEPS: tuple[Width, ...] = ("minute", "hour", "day")
SOURCES = ("api", "playground", "batch")


@dataclass(frozen=True, slots=True)
class UsageFilters:
    """``start`` <= when < ``end``, in UTC, both whole minutes, hours or days as ``step`` says, one of
    STEPS: the width of one point of a series. ``None`` and ``""`` filter nothing."""

    user_id: int | None  # None: everybody's, for an administrator
    start: datetime
    end: datetime
    range: str  # one of RANGES, or "custom"
    step: Width
    project_id: int | None = None
    key_id: int | None = None
    model: str = ""
    source: str = ""

    @property
    def first_day(self) -> date:
        return self.start.date()

    @property
    def last_day(self) -> date:
        return (self.end - WIDTHS[self.step]).date()


def parse_filters(
    query: Mapping[str, str], user_id: int | None, now: datetime | None = None
) -> tuple[UsageFilters, list[str]]:
    """Filters from a query string: ``range`` or ``from`` and ``to`` (dates, inclusive), ``project`` and
    ``key`` (ids), ``model``, ``source``. A value that makes no sense is left out; the messages tell a person
    which."""
    messages: list[str] = []
    now = now or timezone.now()
    start, end, name = _parse_period(query, now, messages)
    source = query.get("source", "")
    if source and source not in SOURCES:
        messages.append(_("There is no source “%(source)s”.") % {"source": source})
        source = ""
    filters = UsageFilters(
        user_id=user_id,
        start=start,
        end=end,
        range=name,
        step=_step(start, end, name, now),
        project_id=_parse_id(query.get("project", ""), _("There is no project “%(text)s”."), messages),
        key_id=_parse_id(query.get("key", ""), _("There is no key “%(text)s”."), messages),
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
    """The range that ends now: whole minutes for an hour, whole hours for a day, else whole days."""
    if text and text not in RANGES:
        messages.append(_("There is no range “%(range)s”.") % {"range": text})
        text = ""
    name = text or DEFAULT_RANGE
    minute = now.astimezone(UTC).replace(second=0, microsecond=0)
    if RANGES[name] == HOUR:
        end = minute + WIDTHS["minute"]
    elif RANGES[name] <= HOURLY_UP_TO:
        end = minute.replace(minute=0) + HOUR
    else:
        end = _midnight(minute.date() + DAY)
    return end - RANGES[name], end, name


def _step(start: datetime, end: datetime, name: str, now: datetime) -> Width:
    """The finest of which there are still rollups, and no more points than a chart has room for."""
    if name != "custom" and RANGES[name] == HOUR:
        return "minute"
    is_kept = start > now - timedelta(days=settings.USAGE_RETENTION_DAYS)
    return "hour" if end - start <= HOURLY_UP_TO and is_kept else "day"


def _parse_date(text: str, messages: list[str]) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        messages.append(_("“%(text)s” is not a date. Write it as 2026-01-31.") % {"text": text})
        return None


def _parse_id(text: str, complaint: str, messages: list[str]) -> int | None:
    if not text:
        return None
    if text.isascii() and text.isdigit() and len(text) < 19:
        return int(text)
    messages.append(complaint % {"text": text})
    return None


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
