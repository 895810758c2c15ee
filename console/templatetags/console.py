"""Small template tags that every page may use."""

from __future__ import annotations

from typing import Any

from django import template
from django.templatetags.static import static
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

register = template.Library()


@register.simple_tag
def icon(name: str) -> SafeString:
    """A drawing from static/img/icons.svg; decoration only, so a text must stand beside it."""
    return format_html(
        '<svg aria-hidden="true" focusable="false"><use href="{}#{}"></use></svg>',
        static("img/icons.svg"),
        name,
    )


@register.simple_tag
def address(view_name: str) -> str:
    try:
        return reverse(view_name)
    except NoReverseMatch:
        return "/"


@register.inclusion_tag("layout/nav_link.html", takes_context=True)
def nav_link(context: template.Context, view_name: str, icon_name: str, label: str) -> dict[str, Any]:
    match = context["request"].resolver_match
    return {
        "url": address(view_name),
        "icon_name": icon_name,
        "label": label,
        "current": match is not None and match.view_name == view_name,
    }
