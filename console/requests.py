"""Turns a request into one whose caller is known. Views get typed people, never anonymous ones."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, cast

from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase

from apikeys.addresses import client_address
from apikeys.audit import Actor
from console.models import User

P = ParamSpec("P")


class PersonRequest(HttpRequest):
    """A request of somebody who is signed in."""

    user: User


def actor_of(request: PersonRequest) -> Actor:
    """Who the audit log says has done what this request does."""
    return Actor(request.user.pk, request.user.email, "console", client_address(request))


View = Callable[Concatenate[HttpRequest, P], HttpResponseBase]
PersonView = Callable[Concatenate[PersonRequest, P], HttpResponseBase]


def person_required(view: PersonView[P]) -> View[P]:
    """Sends anonymous visitors to the sign-in page."""

    @wraps(view)
    def wrapper(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        if not request.user.is_authenticated:
            return redirect_to_login(request.get_full_path())
        return view(cast(PersonRequest, request), *args, **kwargs)

    return wrapper


def administrator_required(view: PersonView[P]) -> View[P]:
    """Refuses people who are no administrators with 403."""

    @wraps(view)
    def checked(request: PersonRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        if not request.user.is_superuser:
            raise PermissionDenied
        return view(request, *args, **kwargs)

    return person_required(checked)
