"""The form of the page of prices."""

from __future__ import annotations

from datetime import datetime, timedelta

from django import forms
from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from apikeys.models import Price
from apikeys.prices import LEAD
from serving import runtime
from serving.errors import ModelNotFound


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
