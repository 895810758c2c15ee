"""Sessions of access tokens: which programs act for one, and ending that."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from apikeys.jwt import sessions
from console.requests import PersonRequest, person_required
from console.snippets import base_url


@never_cache
@person_required
@require_safe
def session_list(request: PersonRequest) -> HttpResponse:
    live = sessions.live(request.user.pk).select_related("key", "project")
    return render(request, "console/sessions.html", {"sessions": live, "base_url": base_url(request)})


@person_required
@require_POST
def end(request: PersonRequest, sid: str) -> HttpResponse:
    sessions.revoke(get_object_or_404(sessions.live(request.user.pk), sid=sid))
    messages.success(request, _("The session is ended. Its tokens are refused from now on."))
    return redirect("console:sessions")


@person_required
@require_POST
def end_all(request: PersonRequest) -> HttpResponse:
    sessions.revoke_all(request.user.pk)
    messages.success(request, _("All sessions are ended. Their tokens are refused from now on."))
    return redirect("console:sessions")
