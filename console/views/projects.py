"""Projects: those that somebody belongs to; one project's settings and limits."""

from __future__ import annotations

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db.models import Count, F
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from apikeys import projects
from apikeys.models import Membership, active_keys
from console import once
from console.forms.projects import InviteMemberForm, NewProjectForm, ProjectForm
from console.projects import Place, place_of
from console.requests import PersonRequest, actor_of, person_required
from console.throttle import Limit, throttled


@person_required
@require_safe
def project_list(request: PersonRequest) -> HttpResponse:
    return _list(request, NewProjectForm())


@throttled(Limit("project", "20/h", "user_or_ip"))
@person_required
@require_POST
def create(request: PersonRequest) -> HttpResponse:
    form = NewProjectForm(request.POST)
    if not form.is_valid():
        return _list(request, form, status=400)
    project = projects.create(form.cleaned_data["name"], request.user, by=actor_of(request))
    return redirect("console:project", project.pk)


@never_cache
@person_required
@require_safe
def project(request: PersonRequest, project_id: int) -> HttpResponse:
    place = place_of(request, project_id)
    return project_page(request, place)


@person_required
@require_POST
def edit(request: PersonRequest, project_id: int) -> HttpResponse:
    place = place_of(request, project_id, "manage")
    form = ProjectForm(request.POST, instance=place.project, administrator=request.user.is_superuser)
    if not form.is_valid():
        return project_page(request, place, form=form, status=400)
    projects.edit(place.project, by=actor_of(request), **form.settings())
    messages.success(request, _("The settings are saved."))
    return redirect("console:project", project_id)


@person_required
@require_POST
def delete(request: PersonRequest, project_id: int) -> HttpResponse:
    place = place_of(request, project_id, "own")
    try:
        projects.delete(place.project, by=actor_of(request))
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
        return redirect("console:project", project_id)
    messages.success(request, _("“%s” and its keys are deleted.") % place.project)
    return redirect("console:projects")


def project_page(
    request: PersonRequest,
    place: Place,
    *,
    form: ProjectForm | None = None,
    invite_form: InviteMemberForm | None = None,
    status: int = 200,
) -> HttpResponse:
    context = {
        "place": place,
        "form": form or ProjectForm(instance=place.project, administrator=request.user.is_superuser),
        "invite_form": invite_form or InviteMemberForm(place=place),
        "invited": once.take(request, "member-invitation"),
        "members": place.project.memberships.select_related("user"),
        "invitations": place.project.invitations.filter(accepted_at=None) if place.may_manage else [],
    }
    return render(request, "console/project.html", context, status=status)


def _list(request: PersonRequest, form: NewProjectForm, status: int = 200) -> HttpResponse:
    keys = Count("project__api_keys", filter=active_keys("project__api_keys"), distinct=True)
    memberships = (
        Membership.objects.filter(user=request.user)
        .select_related("project")
        .annotate(active_keys=keys, people=Count("project__memberships", distinct=True))
        .order_by(F("project__personal_of").desc(nulls_last=True), "project__name", "pk")
    )
    return render(request, "console/projects.html", {"memberships": memberships, "form": form}, status=status)
