"""The forms of the console's pages."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from allauth.account.forms import SignupForm as BaseSignupForm
from django import forms
from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from apikeys.models import ApiKey, Price
from apikeys.prices import LEAD
from console.models import Invitation, User
from console.signup import has_administrator, policy
from serving import runtime
from serving.errors import ModelNotFound

NEVER = "never"
EXPIRIES = [
    ("7", _("In 7 days")),
    ("30", _("In 30 days")),
    ("90", _("In 90 days")),
    ("365", _("In a year")),
    (NEVER, _("Never")),
]


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


class MintForm(forms.Form):
    """What a new key is to be."""

    name = forms.CharField(
        label=_("Name"),
        max_length=ApiKey._meta.get_field("name").max_length,
        help_text=_("What it is for, so that you know later which one to revoke."),
    )
    expires = forms.ChoiceField(label=_("Expires"), choices=EXPIRIES, initial="90")

    def expires_at(self) -> datetime | None:
        chosen = self.cleaned_data["expires"]
        return None if chosen == NEVER else timezone.now() + timedelta(days=int(chosen))


class InviteForm(forms.Form):
    """Whom to invite."""

    email = forms.EmailField(label=_("E-mail address"))

    def clean_email(self) -> str:
        email: str = self.cleaned_data["email"].lower()
        if User.objects.filter(email=email).exists():
            raise ValidationError(gettext("%s has an account already.") % email)
        return email


class PriceForm(forms.ModelForm):  # type: ignore[type-arg]
    """What a million tokens of a model are to cost, and from when on."""

    valid_from = forms.DateTimeField(
        label=_("From (UTC)"),
        required=False,
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
        help_text=_("Empty: in a few seconds."),
    )

    class Meta:
        model = Price
        fields = ("model", "input", "output", "valid_from")
        labels = {"input": _("A million tokens in"), "output": _("A million tokens out")}
        widgets = {"model": forms.TextInput(attrs={"list": "priced-models", "autocomplete": "off"})}

    def clean_model(self) -> str:
        """Requests are booked under a model's name, so an alias means that."""
        asked: str = self.cleaned_data["model"]
        try:
            return runtime.find(asked).name
        except ModelNotFound:
            return asked

    def clean_valid_from(self) -> datetime | None:
        """The minute may be the one that is running: it stands for what is left of it."""
        moment: datetime | None = self.cleaned_data["valid_from"]
        earliest = timezone.now() + LEAD
        if moment is None or earliest - timedelta(minutes=1) < moment < earliest:
            return None
        if moment < earliest:
            raise ValidationError(gettext("A price cannot hold from a moment in the past."))
        return moment
