"""Hands a secret over a redirect: it is shown on the next page, once, and is gone after that.

It waits in the session, which lives on the server, for the moment between the two requests: a URL would
end up in histories and logs, and a page that answers the POST itself would mint again on reload.
"""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

_PREFIX = "once:"


def put(request: HttpRequest, name: str, value: dict[str, Any]) -> None:
    request.session[_PREFIX + name] = value


def take(request: HttpRequest, name: str) -> dict[str, Any] | None:
    value: dict[str, Any] | None = request.session.pop(_PREFIX + name, None)
    return value
