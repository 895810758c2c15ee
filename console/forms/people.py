"""The form of one person's limits."""

from __future__ import annotations

from apikeys.bounds import LIMIT_NAMES
from apikeys.models import UserLimits
from console.forms.limits import LimitsForm


class PersonLimitsForm(LimitsForm):
    """Empty: no limit of that kind."""

    class Meta:
        model = UserLimits
        fields = LIMIT_NAMES
