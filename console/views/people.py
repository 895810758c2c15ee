"""For administrators: who is here, and who is invited."""

from __future__ import annotations

from smtplib import SMTPException

from django.contrib import messages
from django.core.mail import send_mail
from django.db.models import Count
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from apikeys.models import active_keys
from console import invitations, once
from console.forms.accounts import InviteForm
from console.mail import has_mail_server
from console.models import Invitation, User
from console.requests import PersonRequest, administrator_required
from console.signup import policy


@never_cache
@administrator_required
@require_safe
def people(request: PersonRequest) -> HttpResponse:
    return _page(request, InviteForm())


@administrator_required
@require_POST
def invite(request: PersonRequest) -> HttpResponse:
    form = InviteForm(request.POST)
    if not form.is_valid():
        return _page(request, form, status=400)
    invitation, token = invitations.invite(form.cleaned_data["email"], request.user)
    link = request.build_absolute_uri(reverse("console:invitation", args=[token]))
    mailed = _send(request, invitation, link)
    once.put(request, "invitation", {"email": invitation.email, "link": link, "mailed": mailed})
    return redirect("console:people")


@administrator_required
@require_POST
def withdraw(request: PersonRequest, invitation_id: int) -> HttpResponse:
    invitation = get_object_or_404(Invitation, pk=invitation_id, accepted_at=None)
    invitation.delete()
    messages.success(request, _("The invitation for %s is withdrawn.") % invitation.email)
    return redirect("console:people")


def _send(request: PersonRequest, invitation: Invitation, link: str) -> bool:
    """Mails the link, and says whether it did. The administrator has it on the page in any case."""
    context = {"link": link, "inviter": request.user.email, "invitation": invitation}
    body = render_to_string("console/invitation.txt", context, request)
    try:
        send_mail(_("You are invited to Open-AutoGLM Console"), body, None, [invitation.email])
    except (SMTPException, OSError) as error:
        messages.warning(request, _("The mail could not be sent (%s). Pass the link on yourself.") % error)
        return False
    return has_mail_server()


def _page(request: PersonRequest, form: InviteForm, status: int = 200) -> HttpResponse:
    keys = Count("api_keys", filter=active_keys("api_keys"))
    context = {
        "form": form,
        "invited": once.take(request, "invitation"),
        "people": User.objects.annotate(active_keys=keys).order_by("date_joined"),
        "invitations": Invitation.objects.exclude(accepted_at__isnull=False),
        "policy": policy(),
    }
    return render(request, "console/people.html", context, status=status)
