"""What the OpenAPI schema says about /api/v1: one decorator for each kind of answer, and real examples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema

from apikeys.errors import InvalidApiKey, PermissionDenied, RateLimited, ServiceError
from console.api.errors import Conflict, InvalidFields, error_with_fields
from serving.errors import BodyTooLarge, NotFound, UnsupportedMediaType
from serving.openapi import ERROR, Json, json_object

View = TypeVar("View", bound=Callable[..., Any])

WRONG = json_object(
    {
        "error": {
            **ERROR["properties"]["error"],
            "properties": {
                **ERROR["properties"]["error"]["properties"],
                "fields": {
                    "type": "object",
                    "additionalProperties": {"type": "array", "items": {"type": "string"}},
                    "description": "What is wrong with each field, where fields are wrong.",
                },
            },
        }
    }
)
REFUSALS: dict[int, ServiceError] = {
    400: InvalidFields({"name": ["This field is required."]}),
    401: InvalidApiKey("Incorrect API key provided: this server knows no such key."),
    403: PermissionDenied("This needs the scope manage:write, which this key or token does not have."),
    404: NotFound("There is no such thing, or it is not yours to see."),
    409: Conflict("The key is revoked."),
    413: BodyTooLarge("The body is too large."),
    415: UnsupportedMediaType("Send the body as JSON, with Content-Type: application/json."),
    429: RateLimited("Rate limit reached. `Retry-After` says for how long."),
}


class BrowserScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "console.api.credentials.BrowserSession"
    name = "Browser"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, Any]:
        return {
            "type": "apiKey",
            "in": "cookie",
            "name": "sessionid",
            "description": "A browser that has signed in; what changes anything needs `X-CSRFToken` too.",
        }


def describes(
    operation: str,
    summary: str,
    answer: Any = None,
    *,
    tag: str,
    status: int = 200,
    body: Any = None,
    query: list[Any] | None = None,
    refused: tuple[int, ...] = (),
    asked: Json | None = None,
    answered: Json | None = None,
    public: bool = False,
) -> Callable[[View], View]:
    """``asked`` and ``answered`` are an example; ``refused`` adds to what every address may answer. ``query``
    is that of a list, which has pages, and many that it has not."""
    examples = [OpenApiExample("A request", request_only=True, value=asked)] if asked else []
    if answered:
        codes = [str(status)]
        examples.append(OpenApiExample("Its answer", response_only=True, status_codes=codes, value=answered))
    always = (400, 429) if public else (400, 401, 403, 429)
    refused += (404,) if query else ()
    refused += (413, 415) if body else ()
    decorate: Callable[[View], View] = extend_schema(
        operation_id=operation,
        summary=summary,
        request=body,
        parameters=query or [],
        responses={
            status: OpenApiResponse(answer),
            **{code: _refusal(code) for code in sorted({*always, *refused})},
        },
        examples=examples,
        auth=[{}] if public else None,  # type: ignore[list-item]  # OpenAPI's way to say: nothing
        tags=[tag],
    )
    return decorate


def _refusal(status: int) -> OpenApiResponse:
    error = REFUSALS[status]
    examples = [OpenApiExample(error.code or "refused", value=error_with_fields(error))]
    return OpenApiResponse(WRONG, error.message, examples=examples)
