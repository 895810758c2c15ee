"""The audit log: of one project for those who manage it, of everything for administrators."""

from __future__ import annotations

from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from apikeys.models import AuditEntry
from console.projects import choices, chosen_place
from console.requests import PersonRequest, person_required

ON_A_PAGE = 50


@person_required
@require_safe
def audit_log(request: PersonRequest) -> HttpResponse:
    everything = request.user.is_superuser and "project" not in request.GET
    place = chosen_place(request, "manage")
    entries = AuditEntry.objects.all() if everything else AuditEntry.objects.filter(project=place.project)
    context = {
        "page": Paginator(entries, ON_A_PAGE).get_page(request.GET.get("page")),
        "place": place,
        "everything": everything,
        "projects": choices(request, place),
    }
    return render(request, "console/audit.html", context)
