"""What binds a person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib.auth.base_user import AbstractBaseUser
from django.db import transaction

from apikeys import audit
from apikeys.audit import Actor
from apikeys.bounds import LIMIT_NAMES
from apikeys.models import UserLimits


@transaction.atomic
def set_limits(user: AbstractBaseUser, limits: Mapping[str, Any], *, by: Actor) -> None:
    """Of LIMIT_NAMES; what is left out stays as it is. Raises ``ValidationError``."""
    row, _ = UserLimits.objects.select_for_update().get_or_create(user_id=user.pk)
    before = audit.snapshot(row, LIMIT_NAMES)
    for name, value in limits.items():
        setattr(row, name, value)
    row.full_clean()
    row.save()
    who = {"user": user.get_username()}
    after = {**audit.snapshot(row, LIMIT_NAMES), **who}
    audit.record(by, "user.limits", row, project_id=None, before=before, after=after)
