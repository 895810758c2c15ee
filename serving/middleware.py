"""What every answer under /v1, /healthz and /readyz has: an id, and OpenAI's shape when it is an error."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Awaitable, Callable

from django.core.exceptions import SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from rest_framework.request import Request

from apikeys.errors import ServiceError
from apikeys.line_calls import LineCall, is_line_call
from serving.errors import BadRequest, DatabaseAway, InternalError, NotFound, is_anthropic, to_response

log = logging.getLogger(__name__)

HEADER = "x-request-id"
ANTHROPIC_HEADER = "request-id"
_META_KEY = "serving.request_id"
_random = random.Random()  # noqa: S311 (seeded by the system, once: asking it each time is a system call)

GetResponse = Callable[[HttpRequest], Awaitable[HttpResponseBase]]


def new_request_id() -> str:
    """48 bits of milliseconds since 1970, as in UUIDv7, and 80 random ones: no two are the same, and they
    sort by time, so that the database's index of them grows at its end. Nothing depends on their being hard
    to guess."""
    return f"req-{time.time_ns() // 1_000_000:012x}{_random.getrandbits(80):020x}"


def request_id_of(request: HttpRequest | Request) -> str:
    """The id that api_middleware gave to ``request``: also that of its UsageRecord."""
    request_id: str = request.META[_META_KEY]
    return request_id


def _line_id(request: HttpRequest) -> str | None:
    """A line of a batch has its id before it is asked, however often that is."""
    authorization = request.META.get("HTTP_AUTHORIZATION", "")
    return LineCall.request_id_in(authorization) if is_line_call(authorization) else None


def api_middleware(get_response: GetResponse) -> GetResponse:
    async def answer(request: HttpRequest) -> HttpResponseBase:
        request_id = request.META[_META_KEY] = _line_id(request) or new_request_id()
        try:
            response = await get_response(request)
        except Exception as error:
            response = to_response(_explain(error, request, request_id), request.path)
        response.headers.setdefault(HEADER, request_id)  # an answer that is given again has its first one
        if is_anthropic(request.path):
            response[ANTHROPIC_HEADER] = response[HEADER]
        if isinstance(response, HttpResponse):
            response["Content-Length"] = str(len(response.content))
        return response

    return answer


def _explain(error: Exception, request: HttpRequest, request_id: str) -> ServiceError:
    match error:
        case ServiceError():
            return error
        case Http404():
            return NotFound(f"Unknown request URL: {request.method} {request.path}. Is it mistyped?")
        case SuspiciousOperation():
            return BadRequest("The request cannot be read.")
        case OperationalError() | InterfaceError():
            log.error("Request %s could not reach the database: %s", request_id, error)
            return DatabaseAway()
        case _:
            log.error("Request %s failed", request_id, exc_info=error)
            return InternalError()
