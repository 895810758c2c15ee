"""Forms about accounts: signing up, and inviting to."""

from __future__ import annotations

from typing import Any

from allauth.account.forms import SignupForm as BaseSignupForm
from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from console.models import Invitation, User
from console.signup import has_administrator, policy


class SignupForm(BaseSignupForm):  # type: ignore[misc]
    """allauth's form, for people who may come in. An invitation is good for its own address only."""

    def __init__(self, *args: Any, invitation: Invitation | None = None, **kwargs: Any) -> None:
        self.invitation = invitation
        super().__init__(*args, **kwargs)
        if invitation is not None:
            self.fields["email"].initial = invitation.email
            self.fields["email"].widget.attrs["readonly"] = True

    def clean_email(self) -> str:
        email: str = super().clean_email()
        if self.invitation is not None:
            if email.lower() != self.invitation.email.lower():
                raise ValidationError(gettext("This invitation is for %s.") % self.invitation.email)
        elif has_administrator() and not policy().admits(email):
            raise ValidationError(
                gettext("Only addresses at these domains may sign up: %s.") % ", ".join(policy().domains)
            )
        return email


class InviteForm(forms.Form):
    """Whom to invite."""

    email = forms.EmailField(label=_("Email address"))

    def clean_email(self) -> str:
        email: str = self.cleaned_data["email"].lower()
        if User.objects.filter(email=email).exists():
            raise ValidationError(gettext("%s has an account already.") % email)
        return email
