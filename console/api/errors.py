"""What an error of the management API looks like: as under /v1, and field by field where fields are wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django.core.exceptions import PermissionDenied as DjangoPermissionDenied
from django.http import Http404, HttpResponse
from rest_framework import exceptions as drf
from rest_framework.settings import api_settings
from rest_framework.views import set_rollback

from apikeys.errors import InvalidApiKey, PermissionDenied, ServiceError
from serving.errors import (
    BadRequest,
    MethodNotAllowed,
    NotFound,
    UnsupportedMediaType,
    error_body,
    json_response,
)


class Conflict(ServiceError):
    """What is asked for does not go together with what there is."""

    status = 409
    type = "invalid_request_error"
    code = "conflict"


class InvalidFields(BadRequest):
    """``fields``: what is wrong with each, by its path, as in ``limits.daily_tokens``."""

    code = "invalid_fields"

    def __init__(self, fields: Mapping[str, list[str]]) -> None:
        name, messages = next(iter(fields.items()))
        super().__init__(f"{name}: {messages[0]}", param=name)
        self.fields = fields


def respond(error: Exception, context: Mapping[str, Any]) -> HttpResponse | None:
    """REST framework's hook. None for a mistake of ours: api_middleware logs that, and answers 500."""
    refusal = _explain(error)
    if refusal is None:
        return None
    set_rollback()
    return json_response(error_with_fields(refusal), status=refusal.status, headers=refusal.headers)


def error_with_fields(error: ServiceError) -> dict[str, Any]:
    body: dict[str, Any] = error_body(error)
    if isinstance(error, InvalidFields):
        body["error"]["fields"] = error.fields
    return body


def _explain(error: Exception) -> ServiceError | None:
    match error:
        case ServiceError():
            return error
        case drf.ValidationError():
            return InvalidFields(dict(_flatten(error.detail)))
        case drf.NotAuthenticated() | drf.AuthenticationFailed():
            return InvalidApiKey(str(error.detail))
        case drf.PermissionDenied() | DjangoPermissionDenied():
            return PermissionDenied(str(error) or "You may not do this.")
        case drf.NotFound() | Http404():
            return NotFound("There is no such thing, or it is not yours to see.")
        case drf.MethodNotAllowed():
            return MethodNotAllowed(str(error.detail))
        case drf.UnsupportedMediaType():
            return UnsupportedMediaType("Send the body as JSON, with Content-Type: application/json.")
        case _:
            return None


def _flatten(detail: Any, path: str = "") -> Iterator[tuple[str, list[str]]]:
    """REST framework nests what is wrong as the body is nested; here each field has its path."""
    if isinstance(detail, dict):
        for name, inner in detail.items():
            yield from _flatten(inner, _join(path, name))
    elif any(isinstance(message, dict) for message in detail):
        for place, inner in enumerate(detail):
            yield from _flatten(inner or [], _join(path, place))
    elif detail:
        yield path or "body", [str(message) for message in detail]


def _join(path: str, name: str | int) -> str:
    if name == api_settings.NON_FIELD_ERRORS_KEY:
        return path
    return f"{path}[{name}]" if isinstance(name, int) else f"{path}.{name}".lstrip(".")
