"""The form of keys: for a new one, and for changing one."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, cast

from django import forms
from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from apikeys.bounds import LIMIT_NAMES
from apikeys.keys import SETTINGS, KeySettings
from apikeys.models import ApiKey
from apikeys.scopes import SCOPES, default_scopes
from console.forms.limits import LimitsForm

NEVER, UNCHANGED = "never", "unchanged"
EXPIRIES = [
    ("7", _("In 7 days")),
    ("30", _("In 30 days")),
    ("90", _("In 90 days")),
    ("365", _("In a year")),
    (NEVER, _("Never")),
]
GRACES = [("0", _("None")), ("1", _("1 hour")), ("24", _("1 day")), ("168", _("7 days"))]


class WordsField(forms.CharField):
    """A list of words: one a line, or with spaces or commas between."""

    widget = forms.Textarea(attrs={"rows": 2, "spellcheck": "false"})

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        return (super().to_python(value) or "").replace(",", " ").split()

    def validate(self, value: Any) -> None:
        """Left to the model."""

    def run_validators(self, value: Any) -> None:
        """Left to the model."""


class KeyForm(LimitsForm):
    """What a key is for, what it may do and how much."""

    expires = forms.ChoiceField(label=_("Expires"), choices=EXPIRIES, initial="90")
    scopes = forms.MultipleChoiceField(
        label=_("What it may be used for"),
        choices=list(SCOPES.items()),
        initial=default_scopes,
        widget=forms.CheckboxSelectMultiple,
        required=False,
    )
    models = WordsField(
        label=_("Models"), required=False, help_text=_("Names, one a line. Empty: all models.")
    )
    networks = WordsField(
        label=_("Networks that it works from"),
        required=False,
        help_text=_("Like 203.0.113.0/24 or 203.0.113.7, one a line. Empty: from anywhere."),
    )

    class Meta:
        model = ApiKey
        fields = ("name", "notes", "scopes", "models", "networks", "signed", "caches_answers", *LIMIT_NAMES)
        labels = {
            "name": _("Name"),
            "notes": _("Notes"),
            "signed": _("Its requests must be signed"),
            "caches_answers": _("Answers may come from the cache where nothing is left to chance"),
        }
        help_texts = {"name": _("What it is for, so that you know later which one to revoke.")}
        widgets = {"notes": forms.Textarea(attrs={"rows": 2})}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk is not None:
            kept = (UNCHANGED, _("As it is"))
            self.fields["expires"].choices = [kept, *EXPIRIES]  # type: ignore[attr-defined]
            self.initial["expires"] = UNCHANGED

    def clean_scopes(self) -> list[str]:
        """A form for a new key that says nothing of scopes wants the usual ones."""
        chosen: list[str] = self.cleaned_data["scopes"]
        if not chosen and self.instance.pk is not None:
            raise ValidationError(gettext("Choose one at least."))
        return chosen or default_scopes()

    def settings(self) -> KeySettings:
        chosen = {name: value for name, value in self.cleaned_data.items() if name in SETTINGS}
        if self.cleaned_data["expires"] != UNCHANGED:
            chosen["expires_at"] = self._expires_at()
        return cast(KeySettings, chosen)

    def _expires_at(self) -> datetime | None:
        chosen = self.cleaned_data["expires"]
        return None if chosen == NEVER else timezone.now() + timedelta(days=int(chosen))


class RotateForm(forms.Form):
    """How long the old key goes on working beside the new one, in hours."""

    grace = forms.ChoiceField(label=_("The old key works for another"), choices=GRACES, initial="24")

    def grace_period(self) -> timedelta:
        return timedelta(hours=int(self.cleaned_data["grace"]))
