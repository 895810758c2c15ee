"""The form of one person's limits."""

from __future__ import annotations

from django import forms

from apikeys.bounds import LIMIT_NAMES
from apikeys.models import UserLimits


class PersonLimitsForm(forms.ModelForm):  # type: ignore[type-arg]
    """Empty: no limit of that kind."""

    class Meta:
        model = UserLimits
        fields = LIMIT_NAMES

    @property
    def limits(self) -> list[forms.BoundField]:
        return [self[name] for name in LIMIT_NAMES]
