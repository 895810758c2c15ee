"""Every error that a caller is told about, and how it looks on each kind of wire.

ServiceError                       apikeys/errors.py
├── InvalidApiKey             401  and InvalidSignature, InvalidAccessToken, InvalidRefreshToken
├── PermissionDenied          403
├── RateLimited               429
│   └── TokensLimited
├── InsufficientQuota         429
├── BadRequest                400  the request as such: ``param`` names the field
│   ├── UnknownParameter           a field that no version of this API has
│   ├── UnsupportedParameter       a field of OpenAI's that this server cannot honour
│   └── ContextTooLong             prompt and completion do not fit the model's context
├── NotFound                  404  no such address
│   └── ModelNotFound              no such model
├── MethodNotAllowed          405
├── Conflict                  409  not as things stand
│   └── FirstAnswerLost            a repeat under an Idempotency-Key whose first request has no answer
├── BodyTooLarge              413
├── UnsupportedMediaType      415
├── IdempotencyKeyReused      422  the key came with another request before
├── GenerationFailed          500  the model broke while it computed this request
├── InternalError             500  a mistake of ours; the log has it under the request's id
└── Unavailable               503  come back later
    ├── DatabaseAway               what is asked needs it; keys that were seen work without
    ├── ModelNotReady              still loading, or it could not be loaded
    └── EngineOverloaded           full, or too full for one's tier; Retry-After says for how long

Three renderings of one body, ``{"error": {"message", "type", "param", "code"}}``: ``to_response`` (HTTP),
``to_sse`` (an event of a stream that has begun) and ``to_frame`` (a websocket frame). Under /v1/messages
the body is Anthropic's: ``{"type": "error", "error": {"type", "message"}}``.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from typing import Any

from django.http import HttpResponse
from django.http.response import HttpResponseBase
from rest_framework import exceptions as drf

from apikeys.errors import ServiceError
from serving.engine import errors as engine

log = logging.getLogger(__name__)

_ANTHROPIC_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}


class BadRequest(ServiceError):
    status = 400
    type = "invalid_request_error"

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message, param=param)
        self.code = code or self.code


class UnknownParameter(BadRequest):
    code = "unknown_parameter"

    def __init__(self, param: str) -> None:
        super().__init__(f"Unrecognized request argument supplied: {param}", param=param)


class UnsupportedParameter(BadRequest):
    code = "unsupported_parameter"

    def __init__(self, param: str, instead: str) -> None:
        super().__init__(f"This server does not support '{param}'. {instead}", param=param)


class ContextTooLong(BadRequest):
    code = "context_length_exceeded"


class NotFound(ServiceError):
    status = 404
    type = "invalid_request_error"
    code = "not_found"


class ModelNotFound(NotFound):
    code = "model_not_found"

    def __init__(self, name: str) -> None:
        super().__init__(f"The model '{name}' does not exist on this server.", param="model")


class MethodNotAllowed(ServiceError):
    status = 405
    type = "invalid_request_error"
    code = "method_not_allowed"


class Conflict(ServiceError):
    status = 409
    type = "invalid_request_error"
    code = "conflict"


class FirstAnswerLost(Conflict):
    """Nobody knows how far the first request came, so that doing it again is for the caller to decide."""

    code = "idempotent_answer_lost"

    def __init__(self) -> None:
        super().__init__(
            "The first request with this Idempotency-Key was carried out, in whole or in part, but its "
            "answer is lost. To have it done again, send it with another key.",
            headers={"x-should-retry": "false"},
        )


class BodyTooLarge(ServiceError):
    status = 413
    type = "invalid_request_error"
    code = "request_too_large"


class UnsupportedMediaType(ServiceError):
    status = 415
    type = "invalid_request_error"
    code = "unsupported_media_type"


class IdempotencyKeyReused(ServiceError):
    status = 422
    type = "invalid_request_error"
    code = "idempotency_key_reused"

    def __init__(self) -> None:
        super().__init__("This Idempotency-Key came with another request before. Take a new key for each.")


class GenerationFailed(ServiceError):
    code = "generation_failed"


class InternalError(ServiceError):
    code = "internal_error"

    def __init__(self) -> None:
        super().__init__("The server had an error while processing your request. Sorry about that!")


class Unavailable(ServiceError):
    status = 503
    code = "engine_unavailable"


class DatabaseAway(Unavailable):
    code = "database_unavailable"

    def __init__(self) -> None:
        super().__init__(
            "The server cannot reach its database. Please try again.", headers={"Retry-After": "5"}
        )


class ModelNotReady(Unavailable):
    code = "model_not_ready"


class EngineOverloaded(Unavailable):
    code = "engine_overloaded"

    def __init__(self, retry_after: float, why: str = "its queue is full") -> None:
        """``retry_after``: seconds."""
        headers = {
            "Retry-After": str(max(1, math.ceil(retry_after))),
            "retry-after-ms": str(max(1, math.ceil(retry_after * 1000))),
        }
        super().__init__(f"The engine is overloaded: {why}. Please try again.", headers=headers)


def from_engine(error: engine.EngineError, param: str | None = None) -> ServiceError:
    """What an error that the engine raised at ``submit`` means to the caller; ``param`` names the
    field that held the tokens."""
    match error:
        case engine.ContextLengthExceeded():
            return ContextTooLong(str(error), param=param)
        case engine.InvalidRequest():
            return BadRequest(str(error), param=param)
        case engine.QueueFull():
            return EngineOverloaded(error.retry_after)
        case _:
            return Unavailable(str(error))


def error_body(error: ServiceError) -> dict[str, dict[str, str | None]]:
    return {"error": {"message": error.message, "type": error.type, "param": error.param, "code": error.code}}


def anthropic_body(error: ServiceError) -> dict[str, Any]:
    kind = _ANTHROPIC_TYPES.get(error.status, "api_error" if error.status >= 500 else "invalid_request_error")
    return {"type": "error", "error": {"type": kind, "message": error.message}}


def is_anthropic(path: str) -> bool:
    """Whether clients that ask at ``path`` are written for Anthropic's API."""
    return path == "/v1/messages" or path.startswith("/v1/messages/")


def to_response(error: ServiceError, path: str = "") -> HttpResponse:
    """``path``: what was asked for, which says whose shape is expected."""
    body = anthropic_body(error) if is_anthropic(path) else error_body(error)
    return json_response(body, status=error.status, headers=error.headers)


def to_sse(error: ServiceError) -> bytes:
    return b"data: " + json.dumps(error_body(error)).encode() + b"\n\n"


def to_frame(error: ServiceError) -> dict[str, Any]:
    return {"type": "error", **error_body(error)}


def json_response(
    body: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
) -> HttpResponse:
    """Rendered at once: Django renders a REST framework ``Response`` in a thread, one hop for each."""
    return HttpResponse(
        json.dumps(body, ensure_ascii=False).encode(errors="replace"),
        status=status,
        headers=headers,
        content_type="application/json",
    )


def drf_exception_handler(error: Exception, context: dict[str, Any]) -> HttpResponseBase | None:
    """REST framework's hook. None for what is not ours to explain: api_middleware logs that as a 500."""
    path = context["request"].path
    match error:
        case ServiceError():
            return to_response(error, path)
        case drf.MethodNotAllowed():
            return to_response(MethodNotAllowed(str(error.detail)), path)
        case _:
            return None
