"""Usage as the columns that static/js/usage.js draws."""

from __future__ import annotations

from typing import Any

from apikeys.usage.filters import UsageFilters
from apikeys.usage.queries import Point


def chart_columns(series: list[Point], filters: UsageFilters) -> dict[str, Any]:
    """One list per curve, all of the same length; times in seconds since 1970."""
    return {
        "step": filters.step,
        "times": [int(point.start.timestamp()) for point in series],
        "succeeded": [point.totals.requests - point.totals.errors for point in series],
        "errors": [point.totals.errors for point in series],
        "prompt_tokens": [point.totals.prompt_tokens for point in series],
        "completion_tokens": [point.totals.completion_tokens for point in series],
    }
