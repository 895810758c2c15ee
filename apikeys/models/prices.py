"""What tokens cost."""

from __future__ import annotations

from decimal import Decimal

from django.conf import settings
from django.core.validators import MinValueValidator
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


def to_nanos(amount: Decimal) -> int:
    """What usage counts money in: exact, however many amounts are added up, on every database."""
    return int(amount.scaleb(9))


def from_nanos(nanos: int) -> Decimal:
    return Decimal(nanos).scaleb(-9)


class Price(models.Model):
    """What a million tokens of a model cost from ``valid_from`` on, until its next price.

    Rows are only ever added, by ``prices.set_price``: what somebody was charged can be told at any time.
    """

    model = models.CharField(_("model"), max_length=200)
    input = models.DecimalField(
        _("tokens in"), max_digits=12, decimal_places=6, validators=[MinValueValidator(0)]
    )
    output = models.DecimalField(
        _("tokens out"), max_digits=12, decimal_places=6, validators=[MinValueValidator(0)]
    )
    valid_from = models.DateTimeField(_("valid from"))
    created_at = models.DateTimeField(_("created"), default=timezone.now)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+"
    )

    class Meta:
        verbose_name = _("price")
        verbose_name_plural = _("prices")
        ordering = ("model", "-valid_from")
        constraints = (models.UniqueConstraint(fields=("model", "valid_from"), name="price_once"),)

    def __str__(self) -> str:
        return f"{self.model} from {self.valid_from:%Y-%m-%d}"
