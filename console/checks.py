"""Settings that cannot work stop the start, with a line that says what to do."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register
from django.core.exceptions import ImproperlyConfigured

from console.signup import parse_policy


@register
def check_signup(**kwargs: Any) -> list[CheckMessage]:
    try:
        parse_policy(settings.SIGNUP)
    except ImproperlyConfigured as error:
        return [Error(str(error), id="console.E001")]
    return []
