"""Programs to copy and run, for anybody."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from console.examples import TOPICS, model_names, snippets_of
from console.snippets import MODEL


@require_safe
def examples(request: HttpRequest) -> HttpResponse:
    names = model_names()
    asked = request.GET.get("model", "")
    model = asked if asked in names else next(iter(names), MODEL)
    programs = [(topic, snippets_of(topic.name, request, model)) for topic in TOPICS]
    context = {"programs": programs, "models": names, "model": model}
    return render(request, "console/examples.html", context)
