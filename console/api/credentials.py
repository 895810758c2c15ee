"""Who asks at the management API: a key, an access token, or a browser that has signed in."""

from __future__ import annotations

from typing import Any, cast

from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.sessions.backends.db import SessionStore
from django.db.models import QuerySet
from rest_framework import authentication
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from apikeys.addresses import client_address
from apikeys.audit import Actor
from apikeys.auth import Caller
from apikeys.errors import PermissionDenied
from apikeys.models import Project
from apikeys.projects import personal_project
from apikeys.scopes import SCOPES
from console.models import User


class BrowserSession(authentication.SessionAuthentication):
    """The cookie of somebody who has signed in to the pages; what changes anything needs the CSRF token too.

    The API runs without the pages' middleware, so the cookie is read here.
    """

    def authenticate(self, request: Request) -> tuple[Any, Caller] | None:
        cookie = request.COOKIES.get(settings.SESSION_COOKIE_NAME)
        if not cookie:
            return None
        http = cast(Any, request._request)
        http.session = SessionStore(cookie)
        http.user = get_user(http)
        if not http.user.is_authenticated or super().authenticate(request) is None:
            return None
        return http.user, _browser_caller(http.user)


class MayManage(BasePermission):
    """``manage:read`` to look, ``manage:write`` to change."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        scope = "manage:read" if request.method in SAFE_METHODS else "manage:write"
        if scope not in caller_of(request).scopes:
            raise PermissionDenied(f"This needs the scope {scope}, which this key or token does not have.")
        return True


def caller_of(request: Request) -> Caller:
    return cast(Caller, request.auth)


def person_of(request: Request) -> User:
    return cast(User, request.user)


def actor_of(request: Request) -> Actor:
    """Who the audit log says has done what this request does."""
    person = person_of(request)
    return Actor(person.pk, person.email, "api", client_address(request._request))


def projects_of(request: Request) -> QuerySet[Project]:
    """Where this request may look around. A key acts in its own project alone, and so do tokens that came
    from it; a person acts in all projects of theirs, an administrator of the site in all."""
    caller, person = caller_of(request), person_of(request)
    projects = Project.objects.all() if person.is_superuser else Project.objects.filter(members=person)
    return projects if caller.key_id is None else projects.filter(pk=caller.project_id)


def _browser_caller(user: User) -> Caller:
    project = personal_project(user)
    return Caller(user.pk, None, "api", project.pk, frozenset(SCOPES))
