"""Limits as columns: those of keys, projects and people alike."""

from __future__ import annotations

from decimal import Decimal

from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.core.validators import MinValueValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from apikeys.bounds import LIMIT_NAMES, Bounds

_AT_LEAST_ONE = [MinValueValidator(1)]
_NOT_NEGATIVE = [MinValueValidator(Decimal(0))]


class LimitFields(models.Model):
    """The columns of ``Bounds``. NULL: no limit of that kind."""

    requests_per_minute = models.PositiveIntegerField(
        _("requests per minute"), null=True, blank=True, validators=_AT_LEAST_ONE
    )
    tokens_per_minute = models.PositiveIntegerField(
        _("tokens per minute"), null=True, blank=True, validators=_AT_LEAST_ONE
    )
    max_concurrency = models.PositiveIntegerField(
        _("requests at once"), null=True, blank=True, validators=_AT_LEAST_ONE
    )
    daily_tokens = models.PositiveBigIntegerField(
        _("tokens per day"), null=True, blank=True, validators=_AT_LEAST_ONE
    )
    monthly_tokens = models.PositiveBigIntegerField(
        _("tokens per month"), null=True, blank=True, validators=_AT_LEAST_ONE
    )
    daily_money = models.DecimalField(
        _("money per day"), max_digits=16, decimal_places=4, null=True, blank=True, validators=_NOT_NEGATIVE
    )
    monthly_money = models.DecimalField(
        _("money per month"), max_digits=16, decimal_places=4, null=True, blank=True, validators=_NOT_NEGATIVE
    )

    class Meta:
        abstract = True

    def bounds(self, owner: str) -> Bounds:
        return Bounds(owner, **{name: getattr(self, name) for name in LIMIT_NAMES})


class UserLimits(LimitFields):
    """What binds one person, in all projects and in the playground. No row: nothing does."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="limits")

    class Meta:
        verbose_name = _("limits of a person")
        verbose_name_plural = _("limits of people")

    def __str__(self) -> str:
        return f"limits of user {self.user_id}"


def binding(*owned: tuple[str, LimitFields | None]) -> tuple[Bounds, ...]:
    """Of these owners and their limits, those that limit anything."""
    found = [fields.bounds(owner) for owner, fields in owned if fields is not None]
    return tuple(bounds for bounds in found if bounds.binds)


def limits_of(user: AbstractBaseUser) -> UserLimits | None:
    return getattr(user, "limits", None)
