"""Limits on what people do by hand: signing in and up, asking for passwords, minting keys."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django_ratelimit import UNSAFE
from django_ratelimit.core import get_usage

from console.requests import P, View


@dataclass(frozen=True, slots=True)
class Limit:
    """``rate`` and ``key`` in django-ratelimit's words. Only requests that change something count."""

    group: str
    rate: str
    key: str | Callable[[str, HttpRequest], str]

    def seconds_to_wait(self, request: HttpRequest) -> int:
        """Counts this request. 0: it may go on."""
        usage = get_usage(
            request, group=self.group, key=self.key, rate=self.rate, method=UNSAFE, increment=True
        )
        return max(1, usage["time_left"]) if usage and usage["should_limit"] else 0


def posted(field: str) -> Callable[[str, HttpRequest], str]:
    """A key: what was typed into ``field``, whatever its case."""
    return lambda group, request: request.POST.get(field, "").strip().lower()


def login_limits(email: Callable[[str, HttpRequest], str]) -> tuple[Limit, Limit]:
    """Tries at the page and at the API count together."""
    return Limit("login", "60/m", "ip"), Limit("login-email", "10/5m", email)


def throttled(*limits: Limit) -> Callable[[View[P]], View[P]]:
    """Answers with a page that says when to come back once any of ``limits`` is used up."""

    def decorate(view: View[P]) -> View[P]:
        @wraps(view)
        def wrapper(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            wait = max(limit.seconds_to_wait(request) for limit in limits)
            return too_many_requests(request, wait) if wait else view(request, *args, **kwargs)

        return wrapper

    return decorate


def too_many_requests(request: HttpRequest, wait: int) -> HttpResponse:
    minutes = -(-wait // 60)
    response = render(request, "429.html", {"minutes": minutes}, status=429)
    response["Retry-After"] = str(wait)
    return response
