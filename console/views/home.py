"""The front door: what this is, for people who are not signed in."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_safe

from console.snippets import Snippet, quick_start


@require_safe
def home(request: HttpRequest) -> HttpResponse:
    if request.user.is_authenticated:
        return redirect("console:overview")
    snippets: list[Snippet] = quick_start(request)
    return render(request, "console/home.html", {"snippets": snippets})
