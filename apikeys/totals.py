"""What is counted of usage, and how records and rollups are added up alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any

from django.db.models import Aggregate, Count, Q, QuerySet, Sum
from django.db.models.expressions import Combinable

# A client that leaves, or presses Stop, is no error.
IS_ERROR = Q(status__gte=400) & ~Q(status=499)


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over some requests. A rollup has the same fields."""

    requests: int = 0
    errors: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    duration_ms: int = 0  # of all requests together

    def __add__(self, other: Totals) -> Totals:
        return Totals(*map(sum, zip(astuple(self), astuple(other), strict=True)))

    @property
    def mean_duration_ms(self) -> int:
        return round(self.duration_ms / self.requests) if self.requests else 0


# In the order of the fields of Totals.
SUMS_OF_ROLLUPS: Sequence[Aggregate] = [
    Sum("requests"),
    Sum("errors"),
    Sum("prompt_tokens"),
    Sum("completion_tokens"),
    Sum("duration_ms"),
]
SUMS_OF_RECORDS: Sequence[Aggregate] = [
    Count("pk"),
    Count("pk", filter=IS_ERROR),
    Sum("prompt_tokens"),
    Sum("completion_tokens"),
    Sum("duration_ms"),
]


def group(
    queryset: QuerySet[Any], sums: Sequence[Aggregate], *fields: str, **expressions: Combinable
) -> QuerySet[Any, Any]:
    """One row per group: the values of ``fields`` and ``expressions``, then the sums."""
    columns = {f"sum_{number}": aggregate for number, aggregate in enumerate(sums)}
    grouped: QuerySet[Any, Any] = queryset.order_by().values(*fields, **expressions).annotate(**columns)
    return grouped.values_list(*fields, *expressions, *columns)
