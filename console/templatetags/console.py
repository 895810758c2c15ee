"""Small template tags that every page may use."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any

from django import template
from django.conf import settings
from django.contrib.humanize.templatetags.humanize import naturaltime
from django.forms import BoundField
from django.templatetags.static import static
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext

from apikeys.usage.totals import Totals
from serving.sayings import translated

register = template.Library()


@register.simple_tag
def icon(name: str) -> SafeString:
    """A drawing from static/img/icons.svg; decoration only, so a text must stand beside it."""
    return format_html(
        '<svg aria-hidden="true" focusable="false"><use href="{}#{}"></use></svg>',
        static("img/icons.svg"),
        name,
    )


@register.inclusion_tag("layout/nav_link.html", takes_context=True)
def nav_link(context: template.Context, view_name: str, icon_name: str, label: str) -> dict[str, Any]:
    match = context["request"].resolver_match
    return {
        "url": reverse(view_name),
        "icon_name": icon_name,
        "label": label,
        "current": match is not None and match.view_name == view_name,
    }


@register.simple_tag
def bare_input(field: BoundField) -> SafeString:
    """The input of a field without the example text that only repeats its label."""
    return field.as_widget(attrs={"placeholder": ""})


@register.simple_tag
def moment(when: datetime) -> SafeString:
    """A past time as people say it, with the exact one for machines and for those who hover."""
    exact = f"{when:%Y-%m-%d %H:%M:%S} UTC"
    return format_html('<time datetime="{}" title="{}">{}</time>', when.isoformat(), exact, _ago(when))


def _ago(when: datetime) -> str:
    """In one unit, the largest of which at least one has passed."""
    days = (timezone.now() - when).days
    if days >= 365:
        return ngettext("%(n)d year ago", "%(n)d years ago", days // 365) % {"n": days // 365}
    if days >= 30:
        return ngettext("%(n)d month ago", "%(n)d months ago", days // 30) % {"n": days // 30}
    if days >= 1:
        return ngettext("%(n)d day ago", "%(n)d days ago", days) % {"n": days}
    return str(naturaltime(when))


@register.simple_tag
def day(when: datetime) -> SafeString:
    """The day of a time that is far off, with the exact one for those who hover."""
    exact = f"{when:%Y-%m-%d %H:%M:%S} UTC"
    return format_html(
        '<time datetime="{}" title="{}">{}</time>', when.isoformat(), exact, f"{when:%Y-%m-%d}"
    )


@register.filter
def milliseconds(value: int | None) -> str:
    """A duration, short: 340 ms, 2.1 s."""
    if value is None:
        return "—"
    if value < 1000:
        return gettext("{value} ms").format(value=value)
    return gettext("{value} s").format(value=f"{value / 1000:.1f}")


@register.filter
def seconds(value: float) -> str:
    """Time of a machine, short: 12 ms, 3.4 s, 56 min, 7.8 h."""
    if value < 100:
        return milliseconds(round(value * 1000))
    if value < 6000:
        return gettext("{value} min").format(value=f"{value / 60:.0f}")
    return gettext("{value} h").format(value=f"{value / 3600:,.1f}")


@register.filter
def money(amount: Decimal, places: int = 0) -> str:
    """In the currency: 12.50 USD, or three digits of what is less than one: 0.000123 USD."""
    return f"{cost(amount, places)} {settings.CURRENCY}"


@register.filter
def cost(amount: Decimal, places: int = 0) -> str:
    """As ``money``, where the currency is said above; with ``places`` after the point at least."""
    return f"{amount:,.{max(places, _places(amount))}f}"


@register.filter
def places(rows: Iterable[Any], rest: Totals | None = None) -> int:
    """How many a column of costs needs: as many as any of its rows, or the ``rest`` below them, so that
    their points line up."""
    shown = [*rows, rest or Totals()]
    return max(_places(getattr(row, "totals", row).cost) for row in shown)


def _places(amount: Decimal) -> int:
    return 2 if amount == 0 or amount >= 1 else 2 - amount.adjusted()


@register.simple_tag
def currency() -> str:
    return str(settings.CURRENCY)


@register.filter
def short(text: str, length: int) -> str:
    """``text`` cut to ``length``, with the same sign in every language."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


@register.simple_tag
def range_label(name: str) -> str:
    """A name of ``apikeys.usage.filters.RANGES`` as people say it."""
    amount = int(name[:-1])
    if name.endswith("h"):
        return ngettext("%(n)d hour", "%(n)d hours", amount) % {"n": amount}
    return ngettext("%(n)d day", "%(n)d days", amount) % {"n": amount}


@register.filter
def said(text: str) -> str:
    """What the engine says, in the reader's language."""
    return translated(text)


@register.filter
def class_name(value: object) -> str:
    return type(value).__name__
