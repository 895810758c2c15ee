"""For administrators: what tokens cost. A price is never changed: a later one takes its place."""

from __future__ import annotations

from decimal import Decimal

from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from apikeys import prices
from apikeys.models import Price
from console.forms.prices import PriceForm
from console.requests import PersonRequest, actor_of, administrator_required
from serving import runtime


@administrator_required
@require_safe
def price_list(request: PersonRequest) -> HttpResponse:
    return _page(request, PriceForm())


@administrator_required
@require_POST
def set_price(request: PersonRequest) -> HttpResponse:
    form = PriceForm(request.POST)
    if not form.is_valid():
        return _page(request, form, status=400)
    asked = form.cleaned_data
    price = prices.set_price(
        asked["model"], (asked["input"], asked["output"]), asked["valid_from"], by=actor_of(request)
    )
    moment = f"{price.valid_from:%Y-%m-%d %H:%M:%S} UTC"
    messages.success(
        request, _("%(model)s has its new price from %(moment)s.") % {"model": price.model, "moment": moment}
    )
    return redirect("console:prices")


def _page(request: PersonRequest, form: PriceForm, status: int = 200) -> HttpResponse:
    rows = list(Price.objects.select_related("created_by"))
    now = timezone.now()
    current = {row.pk for row in _current(rows)}
    served = [model.name for model in runtime.status()]
    priced = {row.model for row in rows if row.pk in current}
    context = {
        "form": form,
        "currency": settings.CURRENCY,
        "rows": [(row, row.pk in current, row.valid_from > now) for row in rows],
        "places": max([2, *(_places(rate) for row in rows for rate in (row.input, row.output))]),
        "models": sorted({*served, *(row.model for row in rows)}),
        "free": [name for name in served if name not in priced],
    }
    return render(request, "console/prices.html", context, status=status)


def _places(rate: Decimal) -> int:
    """How many digits after the point say all of it."""
    return len(f"{rate.normalize():f}".partition(".")[2])


def _current(rows: list[Price]) -> list[Price]:
    """Of each model, the newest that holds already."""
    now = timezone.now()
    holding = sorted((row for row in rows if row.valid_from <= now), key=lambda row: row.valid_from)
    return list({row.model: row for row in holding}.values())
