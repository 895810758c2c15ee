"""The records and rollups that a page's filters select."""

from __future__ import annotations

from django.db.models import Q, QuerySet

from apikeys.models import NOT_ROLLED_UP, UsageRecord, UsageRollup
from apikeys.usage.filters import UsageFilters
from apikeys.usage.spans import Span


def records_of(filters: UsageFilters) -> QuerySet[UsageRecord]:
    queryset = UsageRecord.objects.filter(started_at__gte=filters.start, started_at__lt=filters.end)
    return queryset.filter(_who_and_what(filters))


def fresh_of(filters: UsageFilters) -> QuerySet[UsageRecord]:
    """The records that no rollup counts yet."""
    return records_of(filters).filter(NOT_ROLLED_UP)


def rollups_of(filters: UsageFilters, span: Span, together: bool) -> QuerySet[UsageRollup]:
    """``together``: of everybody, where nobody asks for one of them: a few rows instead of one for each."""
    queryset = UsageRollup.objects.filter(
        width=span.width, start__gte=span.start, start__lt=span.end, user_id__isnull=together
    )
    return queryset.filter(_who_and_what(filters))


def is_about_everybody(filters: UsageFilters) -> bool:
    return {filters.user_id, filters.project_id, filters.key_id} == {None}


def _who_and_what(filters: UsageFilters) -> Q:
    wanted = {
        "user_id": filters.user_id,
        "project_id": filters.project_id,
        "key_id": filters.key_id,
        "model": filters.model or None,
        "source": filters.source or None,
    }
    return Q(**{field: value for field, value in wanted.items() if value is not None})
