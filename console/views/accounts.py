"""allauth's pages, with this site's limits and sign-up rules."""

from __future__ import annotations

from typing import Any

from allauth.account import views as allauth
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_safe

from console import invitations
from console.accounts import INVITATION_TOKEN, invitation_of
from console.forms.accounts import SignupForm
from console.mail import has_mail_server
from console.signup import has_administrator, policy
from console.throttle import Limit, login_limits, posted, throttled


class SignupView(allauth.SignupView):  # type: ignore[misc]
    form_class = SignupForm

    def get_form_kwargs(self) -> dict[str, Any]:
        return {**super().get_form_kwargs(), "invitation": invitation_of(self.request)}

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        context = {"first_account": not has_administrator(), "policy": policy()}
        return {**super().get_context_data(**kwargs), **context}


class PasswordResetDoneView(allauth.PasswordResetDoneView):  # type: ignore[misc]
    """Says where the mail went when no mail server is set up: to the log."""

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return {**super().get_context_data(**kwargs), "mail_goes_to_log": not has_mail_server()}


login = throttled(*login_limits(posted("login")))(allauth.login)
signup = throttled(Limit("signup", "20/10m", "ip"))(SignupView.as_view())
password_reset = throttled(
    Limit("reset", "20/h", "ip"),
    Limit("reset-email", "5/h", posted("email")),
)(allauth.password_reset)
password_reset_done = PasswordResetDoneView.as_view()


@require_safe
def invitation(request: HttpRequest, token: str) -> HttpResponse:
    """The link in an invitation: remembers the token and goes on to the sign-up form."""
    if invitations.find(token) is None:
        return render(request, "account/invitation_over.html", status=404)
    request.session[INVITATION_TOKEN] = token
    return redirect("account_signup")
