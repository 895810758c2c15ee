"""What may stand in the columns of keys and projects that hold more than one value."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

from apikeys.scopes import SCOPES

MAX_ENTRIES = 100  # networks, or models, of one key


def validate_scopes(value: Any) -> None:
    _check_texts(value)
    if unknown := [scope for scope in value if scope not in SCOPES]:
        raise ValidationError(_("There is no scope “%s”.") % unknown[0])


def validate_models(value: Any) -> None:
    _check_texts(value)


def validate_networks(value: Any) -> None:
    _check_texts(value)
    for text in value:
        validate_network(text)


def validate_network(text: str) -> None:
    try:
        ip_network(text)
    except ValueError:
        raise ValidationError(
            _("“%s” is no network. Write it as 203.0.113.0/24, or one address as 203.0.113.7.") % text
        ) from None


def _check_texts(value: Any) -> None:
    if not isinstance(value, list) or not all(
        isinstance(text, str) and 0 < len(text) <= 200 for text in value
    ):
        raise ValidationError(_("This must be a list of short texts."))
    if len(value) > MAX_ENTRIES:
        raise ValidationError(_("There may be %d of these at most.") % MAX_ENTRIES)
