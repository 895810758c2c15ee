"""The audit log: of one project for those who manage it, of everything for administrators."""

from __future__ import annotations

from typing import Any

from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
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
    page = Paginator(entries, ON_A_PAGE).get_page(request.GET.get("page"))
    context = {
        "page": page,
        "entries": [(entry, _changes(entry)) for entry in page],
        "place": place,
        "everything": everything,
        "projects": choices(request, place),
    }
    return render(request, "console/audit.html", context)


def _changes(entry: AuditEntry) -> list[tuple[str, str, str]]:
    """What was changed, what it was before and is after. Empty: it was, or is, not there."""
    names = {**entry.before, **entry.after}
    return [(name, _shown(entry.before.get(name)), _shown(entry.after.get(name))) for name in names]


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)
