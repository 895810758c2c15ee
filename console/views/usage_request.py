"""One request: what it used, where its time went, and what was said if its project keeps that."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from apikeys.contents import Content, ContentLost, unseal
from apikeys.models import Project, RequestContent, Role, UsageRecord
from apikeys.roles import may, role_in
from console.requests import PersonRequest, person_required


@never_cache
@person_required
@require_safe
def usage_request(request: PersonRequest, request_id: str) -> HttpResponse:
    """For whoever made it, and for those who may see the usage of its project. What was said is for whoever
    made it, and for those who manage the project."""
    record = get_object_or_404(UsageRecord.objects.select_related("key"), request_id=request_id)
    project = Project.objects.select_related("personal_of").filter(pk=record.project_id).first()
    role: Role | None = role_in(project, request.user) if project else None
    own = record.user_id == request.user.pk
    if not own and not may(role, "view"):
        raise Http404
    kept = RequestContent.objects.filter(request_id=request_id).first()
    content = _read(kept) if own or may(role, "manage") else None
    context = {
        "record": record,
        "project": project,
        "kept": kept is not None,
        "may_read": own or may(role, "manage"),
        "content": content,
        "asked": _parts(content),
    }
    return render(request, "console/usage_request.html", context)


def _read(kept: RequestContent | None) -> Content | None:
    try:
        return unseal(kept.sealed) if kept else None
    except ContentLost:
        return None


def _said(message: dict[str, Any]) -> str:
    """Its text, and the calls of tools that an assistant made."""
    calls = [f"{call['name']}({call['arguments']})" for call in message.get("calls", ())]
    return "\n".join([message["content"], *calls]).strip("\n")


def _parts(content: Content | None) -> list[dict[str, str]]:
    """What was asked, as texts with titles: messages have roles, prompts and inputs have none."""
    asked = content.asked if content else []
    items = asked if isinstance(asked, list) else [asked]
    return [
        {"title": _title_of(item["role"]), "text": _said(item)}
        if isinstance(item, dict)
        else {"title": _("Prompt"), "text": str(item)}
        for item in items
    ]


def _title_of(role: str) -> str:
    titles = {"system": _("System"), "user": _("User"), "assistant": _("Assistant"), "tool": _("Tool")}
    return titles.get(role, role)
