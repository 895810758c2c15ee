"""Who belongs to a project: inviting, joining, changing roles, leaving."""

from __future__ import annotations

from smtplib import SMTPException
from typing import cast

from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.mail import send_mail
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from apikeys import project_invitations, projects
from apikeys.models import ProjectInvitation, Role
from apikeys.roles import may_give
from console import once
from console.forms.projects import InviteMemberForm, RoleForm
from console.mail import has_mail_server
from console.projects import place_of
from console.requests import PersonRequest, actor_of, person_required
from console.throttle import Limit, throttled
from console.views.projects import project_page


@throttled(Limit("invite-member", "60/h", "user_or_ip"))
@person_required
@require_POST
def invite(request: PersonRequest, project_id: int) -> HttpResponse:
    place = place_of(request, project_id, "manage")
    form = InviteMemberForm(request.POST, place=place)
    if not form.is_valid():
        return project_page(request, place, invite_form=form, status=400)
    email, role = form.cleaned_data["email"], form.cleaned_data["role"]
    invitation, token = project_invitations.invite(place.project, email, role, by=actor_of(request))
    link = request.build_absolute_uri(reverse("console:join", args=[token]))
    mailed = _send(request, invitation, link)
    once.put(request, "member-invitation", {"email": email, "link": link, "mailed": mailed})
    return redirect("console:project", project_id)


@person_required
@require_POST
def withdraw(request: PersonRequest, project_id: int, invitation_id: int) -> HttpResponse:
    place = place_of(request, project_id, "manage")
    invitation = get_object_or_404(place.project.invitations, pk=invitation_id, accepted_at=None)
    if not may_give(place.role, None, cast(Role, invitation.role)):
        raise PermissionDenied
    project_invitations.withdraw(invitation, by=actor_of(request))
    messages.success(request, _("The invitation for %s is withdrawn.") % invitation.email)
    return redirect("console:project", project_id)


@person_required
@require_POST
def set_role(request: PersonRequest, project_id: int, membership_id: int) -> HttpResponse:
    place = place_of(request, project_id, "manage")
    membership = get_object_or_404(place.project.memberships, pk=membership_id)
    form = RoleForm(request.POST)
    if not form.is_valid():
        raise PermissionDenied
    role = form.cleaned_data["role"]
    if not may_give(place.role, cast(Role, membership.role), role):
        raise PermissionDenied
    try:
        projects.set_role(membership, role, by=actor_of(request))
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
    else:
        messages.success(request, _("%s has the new role.") % membership.user)
    return redirect("console:project", project_id)


@person_required
@require_POST
def remove(request: PersonRequest, project_id: int, membership_id: int) -> HttpResponse:
    """Taking somebody out; or leaving, which everybody may."""
    place = place_of(request, project_id)
    membership = get_object_or_404(place.project.memberships, pk=membership_id)
    leaves = membership.user_id == request.user.pk
    if not leaves and not may_give(place.role, cast(Role, membership.role), None):
        raise PermissionDenied
    try:
        projects.remove_member(membership, by=actor_of(request))
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
        return redirect("console:project", project_id)
    messages.success(request, _("%s is no member any more.") % membership.user)
    return redirect("console:projects") if leaves else redirect("console:project", project_id)


@never_cache
@person_required
@require_http_methods(["GET", "HEAD", "POST"])
def join(request: PersonRequest, token: str) -> HttpResponse:
    """The link in an invitation. It is good for the account with the invited address only."""
    invitation = project_invitations.find(token)
    if invitation is None:
        return render(request, "account/invitation_over.html", status=404)
    fits = invitation.email.lower() == request.user.email.lower()
    if request.method == "POST":
        if not fits:
            raise PermissionDenied
        project_invitations.accept(invitation, request.user, by=actor_of(request))
        messages.success(request, _("You belong to “%s” now.") % invitation.project)
        return redirect("console:project", invitation.project_id)
    return render(request, "console/join.html", {"invitation": invitation, "fits": fits})


def _send(request: PersonRequest, invitation: ProjectInvitation, link: str) -> bool:
    """Mails the link, and says whether it did. Whoever invites has it on the page in any case."""
    context = {"link": link, "inviter": request.user.email, "project": invitation.project}
    body = render_to_string("console/project_invitation.txt", context, request)
    subject = _("You are invited to “%s” in Open-AutoGLM Console") % invitation.project
    try:
        send_mail(subject, body, None, [invitation.email])
    except (SMTPException, OSError) as error:
        messages.warning(request, _("The mail could not be sent (%s). Pass the link on yourself.") % error)
        return False
    return has_mail_server()
