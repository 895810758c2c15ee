"""What the engine says to people, in their language."""

from __future__ import annotations

from django.utils import translation

from serving.engine.saying import Saying


def translated(text: str) -> str:
    """Into the active language; a text that is no ``Saying`` stays as it is."""
    if not isinstance(text, Saying):
        return text
    values = {
        name: translated(value) if isinstance(value, str) else value for name, value in text.values.items()
    }
    return translation.gettext(text.text) % values
