"""What is counted of usage, and how records and rollups are added up alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC
from decimal import Decimal
from operator import add, attrgetter
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Aggregate, Count, Func, Q, QuerySet, Sum
from django.db.models.expressions import Combinable
from django.db.models.functions import Trunc
from django.db.models.sql.compiler import SQLCompiler

from apikeys.models import CLIENT_LEFT, SUMS, UsageRecord, Width, from_nanos

IS_ERROR = Q(status__gte=400) & ~Q(status=CLIENT_LEFT)  # who leaves, or presses Stop, makes no error


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over some requests: SUMS, in their order, which a rollup has as well."""

    requests: int = 0
    errors: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    duration_ms: int = 0  # of all requests together
    cost_nanos: int = 0  # billionths of the currency
    compute_us: int = 0  # microseconds that the model computed for them

    def __add__(self, other: Totals) -> Totals:
        return Totals(*map(add, _values(self), _values(other)))

    @property
    def mean_duration_ms(self) -> int:
        return round(self.duration_ms / self.requests) if self.requests else 0

    @property
    def cost(self) -> Decimal:
        """In units of the currency."""
        return from_nanos(self.cost_nanos)

    @property
    def compute_seconds(self) -> float:
        return self.compute_us / 1e6


_values = attrgetter(*SUMS)
_values_of_record = attrgetter(*SUMS[2:])


def totals_of(record: UsageRecord) -> Totals:
    is_error = record.status >= 400 and record.status != CLIENT_LEFT
    return Totals(1, int(is_error), *_values_of_record(record))


class Added(Sum):
    """As the database says it. Django makes an int of each sum, one by one: a third of the time of a query
    that answers with thousands."""

    def get_db_converters(self, connection: BaseDatabaseWrapper) -> list[Any]:
        return []


# In the order of the fields of Totals.
SUMS_OF_ROLLUPS: Sequence[Aggregate] = [Added(field) for field in SUMS]
SUMS_OF_RECORDS: Sequence[Aggregate] = [
    Count("pk"),
    Count("pk", filter=IS_ERROR),
    *(Added(field) for field in SUMS[2:]),
]


class Unordered(Func):
    """A column to group by, in no order. SQLite would go through an index that has its order, and fetch every
    row, even where another index has all that is asked for."""

    template = "%(expressions)s"
    arity = 1

    def as_sqlite(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **context: Any
    ) -> tuple[str, tuple[str | int, ...]]:
        sql, parameters = self.as_sql(compiler, connection, template="+%(expressions)s", **context)
        return sql, tuple(parameters)


class Began(Trunc):
    """The minute, hour or day (UTC) in which ``started_at`` is. SQLite has no function for that: Django's,
    in Python, is called for each row, where the text that SQLite keeps needs only to be cut."""

    def __init__(self, width: Width) -> None:
        super().__init__("started_at", width, tzinfo=UTC)

    def as_sqlite(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **context: Any
    ) -> tuple[str, tuple[str | int, ...]]:
        sql, parameters = compiler.compile(self.lhs)
        midnight = "0000-00-00 00:00:00"
        kept = {"minute": 16, "hour": 13, "day": 10}[str(self.kind)]
        return f"substr({sql}, 1, {kept}) || '{midnight[kept:]}'", tuple(parameters)


def group(
    queryset: QuerySet[Any], sums: Sequence[Aggregate], *fields: str, **expressions: Combinable
) -> QuerySet[Any, Any]:
    """One row per group: the values of ``fields`` and ``expressions``, then the sums."""
    columns = {f"sum_{number}": aggregate for number, aggregate in enumerate(sums)}
    grouped: QuerySet[Any, Any] = queryset.order_by().values(*fields, **expressions).annotate(**columns)
    return grouped.values_list(*fields, *expressions, *columns)
