"""What was used: numbers, charts and tables for a period, and the same as CSV."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from django.http import HttpResponse, StreamingHttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from apikeys.models import ApiKey, Project
from apikeys.roles import may, role_in
from apikeys.usage import listing, queries
from apikeys.usage.filters import RANGES, SOURCES, UsageFilters, parse_filters
from apikeys.usage.queries import ModelUsage, Ranking
from console.charts import chart_columns
from console.requests import PersonRequest, person_required
from console.snippets import quick_start

LATEST = 10  # requests listed one by one


@person_required
@require_safe
def usage(request: PersonRequest) -> HttpResponse:
    filters, problems = _filters(request)
    series, by_model = queries.usage_series(filters), queries.usage_by_model(filters)
    context = {
        "filters": filters,
        "problems": problems,
        "everybody": filters.user_id is None and filters.project_id is None,
        "query": request.GET.urlencode(),
        "summary": queries.usage_summary(filters),
        "chart": chart_columns(series, filters),
        "busy_points": [point for point in reversed(series) if point.totals.requests],
        "by_key": queries.usage_by_key(filters),
        "by_model": by_model,
        "by_project": queries.usage_by_project(filters),
        "latest": listing.usage_latest(filters, LATEST),
        "snippets": quick_start(request),
        **_choices(request, filters, by_model),
    }
    return render(request, "console/usage.html", context)


@person_required
@require_safe
def usage_csv(request: PersonRequest) -> StreamingHttpResponse:
    filters, _problems = _filters(request)
    response = StreamingHttpResponse(listing.usage_csv(filters), content_type="text/csv; charset=utf-8")
    name = f"usage-{filters.first_day}-{filters.last_day}.csv"
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def _filters(request: PersonRequest) -> tuple[UsageFilters, list[str]]:
    """One's own usage; of a project whose usage one may see, all of it; an administrator may ask for
    everybody's."""
    everybody = request.user.is_superuser and request.GET.get("people") == "all"
    filters, problems = parse_filters(request.GET, None if everybody else request.user.pk)
    project = Project.objects.filter(pk=filters.project_id or 0).first()
    if project is not None and may(role_in(project, request.user), "view"):
        filters = replace(filters, user_id=None)
    return filters, problems


def _choices(request: PersonRequest, filters: UsageFilters, by_model: Ranking[ModelUsage]) -> dict[str, Any]:
    """What the filter form offers: only what leads somewhere."""
    keys = ApiKey.objects.only("name", "prefix").order_by("name")
    if filters.project_id is not None:
        keys = keys.filter(project=filters.project_id)
    any_model = queries.usage_by_model(replace(filters, model="")) if filters.model else by_model
    return {
        "ranges": list(RANGES),
        "sources": SOURCES,
        "projects": Project.objects.filter(members=request.user),
        "keys": keys if filters.user_id is None else keys.filter(owner=request.user),
        "models": sorted(row.model for row in any_model.rows),
    }
