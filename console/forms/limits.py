"""What all forms about limits have."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from apikeys.bounds import LIMIT_NAMES

_MONEY = ("daily_money", "monthly_money")


class LimitsForm(forms.ModelForm):  # type: ignore[type-arg]
    """Of a model with ``LimitFields``. Empty: no limit of that kind."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in _MONEY:
            field = self.fields[name]
            field.label = format_lazy(_("{label} ({unit})"), label=field.label, unit=settings.CURRENCY)
            if (amount := self.initial.get(name)) is not None:
                self.initial[name] = f"{amount.normalize():f}"  # as it was typed: 250, not 250.0000

    @property
    def limits(self) -> list[forms.BoundField]:
        return [self[name] for name in LIMIT_NAMES]
