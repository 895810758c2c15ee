"""Which project a page is about, and what the person who asks may do there."""

from __future__ import annotations

from dataclasses import dataclass

from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404
from django.shortcuts import get_object_or_404

from apikeys.models import ApiKey, Project, Role
from apikeys.projects import personal_project, projects_of
from apikeys.roles import Permission, may, may_edit, role_in
from console.models import User
from console.requests import PersonRequest


@dataclass(frozen=True, slots=True)
class Place:
    """A project and the role of whoever asks. Templates ask what is allowed by these properties."""

    project: Project
    role: Role
    user: User

    @property
    def may_use(self) -> bool:
        return may(self.role, "use")

    @property
    def may_manage(self) -> bool:
        return may(self.role, "manage")

    @property
    def may_own(self) -> bool:
        return may(self.role, "own")

    @property
    def is_personal(self) -> bool:
        return self.project.personal_of_id is not None

    def may_edit(self, key: ApiKey) -> bool:
        return may_edit(self.role, key, self.user)


def place_of(request: PersonRequest, project_id: int, permission: Permission = "view") -> Place:
    """404 for a project that the person does not belong to, 403 for what their role does not allow."""
    project = get_object_or_404(Project, pk=project_id)
    role = role_in(project, request.user)
    if role is None:
        raise Http404
    if not may(role, permission):
        raise PermissionDenied
    return Place(project, role, request.user)


def chosen_place(request: PersonRequest, permission: Permission = "view") -> Place:
    """That of the project which ``?project=`` or a form's field names; the personal one without it."""
    chosen = request.POST.get("project") or request.GET.get("project")
    if not chosen:
        return place_of(request, personal_project(request.user).pk, permission)
    if not (chosen.isascii() and chosen.isdigit() and len(chosen) < 19):
        raise Http404
    return place_of(request, int(chosen), permission)


def choices(request: PersonRequest, place: Place) -> QuerySet[Project]:
    """The projects that a page offers to switch to; an administrator may be in none of them."""
    mine = projects_of(request.user)
    return mine if mine.filter(pk=place.project.pk).exists() else Project.objects.filter(pk=place.project.pk)
