"""The audit log: of one project for those who manage it, of everything for administrators."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from django.apps import apps
from django.core.exceptions import FieldDoesNotExist
from django.core.paginator import Paginator
from django.db.models import Field
from django.http import HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_safe

from apikeys import blocking
from apikeys.models import AuditEntry
from console.projects import choices, chosen_place
from console.requests import PersonRequest, person_required

ON_A_PAGE = 50
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00")  # as ``apikeys.audit`` writes it
_PEOPLE = {"owner": gettext_lazy("owner"), "user": gettext_lazy("user")}


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
    changes = []
    for name in {**entry.before, **entry.after}:
        field = _field(entry, name)
        label = _PEOPLE.get(name) or (field.verbose_name if field else name)
        before, after = (_shown(field, said.get(name)) for said in (entry.before, entry.after))
        changes.append((str(label), before, after))
    return changes


def _field(entry: AuditEntry, name: str) -> Field[Any, Any] | None:
    """Of the entry's subject, where ``name`` is one, and the software still has it."""
    try:
        field = apps.get_model("apikeys", entry.subject.partition(":")[0])._meta.get_field(name)
    except (LookupError, FieldDoesNotExist):
        return None
    return field if isinstance(field, Field) else None


def _shown(field: Field[Any, Any] | None, value: Any) -> str:
    choices = dict(field.flatchoices) if field else {}
    match value:
        case None:
            return ""
        case bool():
            return _("yes") if value else _("no")
        case int():
            return f"{value:,}"
        case list():
            return ", ".join(map(str, value))
        case str() if value in choices:
            return str(choices[value])
        case str() if _MOMENT.fullmatch(value):
            return f"{datetime.fromisoformat(value):%Y-%m-%d %H:%M:%S} UTC"
        case str() if field and field.name == "reason":
            return blocking.said(value)
        case _:
            return str(value)
