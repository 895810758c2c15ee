"""A column of JSON that every database takes."""

from __future__ import annotations

from typing import Any

from django.db import models


class KeptJSON(models.JSONField):
    """What callers wrote may hold a NUL, which PostgreSQL's JSON has none of: it becomes U+FFFD."""

    def deconstruct(self) -> Any:
        """To the database it is Django's."""
        name, _, arguments, options = super().deconstruct()
        return name, "django.db.models.JSONField", arguments, options

    def get_prep_value(self, value: Any) -> Any:
        return super().get_prep_value(_without_nul(value))


def _without_nul(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\0", "\N{REPLACEMENT CHARACTER}")
    if isinstance(value, list | tuple):
        return [_without_nul(item) for item in value]
    if isinstance(value, dict):
        return {_without_nul(name): _without_nul(item) for name, item in value.items()}
    return value
