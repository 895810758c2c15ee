"""The models of this server: what they are and how they fare, refreshed while one looks."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from apikeys import limits
from console.requests import PersonRequest, person_required
from serving import runtime


@person_required
@require_safe
def model_list(request: PersonRequest) -> HttpResponse:
    return render(request, "console/models.html", _state())


@never_cache
@person_required
@require_safe
def model_cards(request: PersonRequest) -> HttpResponse:
    """The part of the page that changes; static/js/live.js puts it in place."""
    return render(request, "console/model_cards.html", _state())


def _state() -> dict[str, Any]:
    return {"models": runtime.status(), "alone": limits.alone()}
