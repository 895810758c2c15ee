"""The first page after signing in: is the model up, what did I use, what do I do next."""

from __future__ import annotations

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from apikeys.models import ApiKey
from apikeys.usage import queries
from apikeys.usage.filters import parse_filters
from console.charts import chart_columns
from console.requests import PersonRequest, person_required
from console.snippets import base_url, quick_start
from serving import runtime


@person_required
@require_safe
def overview(request: PersonRequest) -> HttpResponse:
    filters, _problems = parse_filters({}, request.user.pk)
    keys = [key for key in ApiKey.objects.filter(owner=request.user) if key.status == "active"]
    summary = queries.usage_summary(filters)
    context = {
        "base_url": base_url(request),
        "models": runtime.status(),
        "keys": keys,
        "summary": summary,
        "chart": chart_columns(queries.usage_series(filters), filters),
        "called": any(key.last_used_at for key in keys),
        "snippets": quick_start(request),
    }
    return render(request, "console/overview.html", context)
