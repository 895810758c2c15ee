"""The form of the page of blocked addresses."""

from __future__ import annotations

from datetime import datetime, timedelta
from ipaddress import ip_address, ip_network
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from apikeys.validation import validate_network

FOREVER = "forever"
PERIODS = [
    ("1", _("1 hour")),
    ("24", _("1 day")),
    ("168", _("7 days")),
    (FOREVER, _("Until it is lifted")),
]


class BlockForm(forms.Form):
    """What to block, and for how long (hours). Never whoever asks."""

    network = forms.CharField(
        label=_("Network"),
        max_length=43,
        validators=[validate_network],
        help_text=_("Like 203.0.113.0/24, or one address."),
    )
    reason = forms.CharField(label=_("Reason"), max_length=200, required=False)
    period = forms.ChoiceField(label=_("For"), choices=PERIODS, initial="24")

    def __init__(self, *args: Any, own_address: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._own_address = ip_address(own_address)

    def clean_network(self) -> str:
        network = ip_network(self.cleaned_data["network"])
        if self._own_address in network:
            raise ValidationError(gettext("You come from there yourself: %s.") % self._own_address)
        return str(network)

    def until(self) -> datetime | None:
        period = self.cleaned_data["period"]
        return None if period == FOREVER else timezone.now() + timedelta(hours=int(period))
