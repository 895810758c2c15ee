"""What the OpenAPI schema says about the API: shapes made of the tables of fields, and examples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema

from apikeys.errors import InvalidApiKey, PermissionDenied, RateLimited, ServiceError
from serving.errors import (
    BadRequest,
    BodyTooLarge,
    Conflict,
    IdempotencyKeyReused,
    ModelNotFound,
    ModelNotReady,
    UnsupportedMediaType,
    anthropic_body,
    error_body,
)
from serving.fields import Field, Refused, object_schema
from serving.schemas import COMPLETION_FIELDS

Json = dict[str, Any]
View = TypeVar("View", bound=Callable[..., Any])


def json_object(properties: Json, required: list[str] | None = None) -> Json:
    return {"type": "object", "properties": properties, "required": required or list(properties)}


def json_array(items: Json) -> Json:
    return {"type": "array", "items": items}


def request_schema(fields: Mapping[str, Field | Refused]) -> Json:
    return {**object_schema(fields), "additionalProperties": False}


def require_bodies(result: Json, **_: Any) -> Json:
    """drf-spectacular's hook: a body of which something is required must be there."""
    for operations in result["paths"].values():
        for operation in operations.values():
            body = operation.get("requestBody", {"content": {}})
            if any("required" in media["schema"] for media in body["content"].values()):
                body["required"] = True
    return result


STRING: Json = {"type": "string"}
INTEGER: Json = {"type": "integer"}
NULLABLE_STRING: Json = {"type": "string", "nullable": True}
FINISH_REASON: Json = {"type": "string", "enum": ["stop", "length"]}
NOTHING: Json = {"type": "object", "nullable": True}

EVENT = json_object({"event": STRING, "data": {"type": "string", "description": "JSON."}}, ["data"])
USAGE = json_object({"prompt_tokens": INTEGER, "completion_tokens": INTEGER, "total_tokens": INTEGER})
ERROR = json_object(
    {
        "error": json_object(
            {"message": STRING, "type": STRING, "param": NULLABLE_STRING, "code": NULLABLE_STRING}
        )
    }
)
ANTHROPIC_ERROR = json_object(
    {
        "type": {"type": "string", "enum": ["error"]},
        "error": json_object({"type": STRING, "message": STRING}),
    }
)
MODEL = json_object(
    {
        "id": STRING,
        "object": {"type": "string", "enum": ["model"]},
        "created": INTEGER,
        "owned_by": STRING,
        "root": {"type": "string", "description": "The model that answers to this name."},
        "max_model_len": {"type": "integer", "nullable": True},
    }
)
MODELS = json_object({"object": {"type": "string", "enum": ["list"]}, "data": json_array(MODEL)})


def openai_answer(kind: str, choice: Json) -> Json:
    """Of OpenAI's two older endpoints."""
    return json_object(
        {
            "id": STRING,
            "object": {"type": "string", "enum": [kind]},
            "created": INTEGER,
            "model": STRING,
            "choices": json_array(choice),
            "usage": USAGE,
        }
    )


COMPLETION = openai_answer(
    "text_completion",
    json_object({"index": INTEGER, "text": STRING, "logprobs": NOTHING, "finish_reason": FINISH_REASON}),
)
HEAD = {"created": 1763800000, "model": "smollm2-135m-instruct"}

COMPLETION_EXAMPLES = [
    OpenApiExample(
        "A completion",
        request_only=True,
        value={
            "model": "open-autoglm-7b",
            "prompt": "The capital of France is",
            "max_tokens": 100,
            "temperature": 0.7,
        },
    ),
    OpenApiExample(
        "Its answer",
        response_only=True,
        status_codes=["200"],
        value={
            "id": "cmpl-4f6c1d0e8b9a4c7d9e2f3a5b6c7d8e9f",
            **HEAD,
            "object": "text_completion",
            "choices": [
                {"index": 0, "text": " Paris. It is also", "logprobs": None, "finish_reason": "length"}
            ],
            "usage": {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10},
        },
    ),
]
_REFUSALS = {
    400: BadRequest("The request is wrong; `param` names the field.", param="max_tokens"),
    401: InvalidApiKey("There is no such key."),
    403: PermissionDenied("The key may not do this."),
    404: ModelNotFound("gpt-4"),
    409: Conflict("Not as things stand: it is needed, or has ended."),
    413: BodyTooLarge("The body is too large."),
    415: UnsupportedMediaType("The body is of another type."),
    422: IdempotencyKeyReused(),
    429: RateLimited("Too many requests; `Retry-After` says for how long."),
    503: ModelNotReady("The model is still loading, or busy.", param="model"),
}
IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
    OpenApiParameter.HEADER,
    description="Within 24 hours, a repeat of the request with the same key gets the first answer.",
)


def refusals(*which: int | ServiceError, anthropic: bool = False) -> dict[int, OpenApiResponse]:
    """``which``, by their statuses or in their own words, and those of every address under /v1."""
    errors = [_REFUSALS[each] if isinstance(each, int) else each for each in (401, 403, 429, *which)]
    responses = {}
    for error in sorted(errors, key=lambda each: each.status):
        body = anthropic_body(error) if anthropic else error_body(error)
        examples = [OpenApiExample(error.code or "invalid", value=body)]
        shape = ANTHROPIC_ERROR if anthropic else ERROR
        responses[error.status] = OpenApiResponse(shape, error.message, examples=examples)
    return responses


def describes(
    summary: str,
    description: str,
    fields: Mapping[str, Field | Refused],
    answer: Json,
    examples: list[OpenApiExample],
    about_stream: str = "",
    *,
    anthropic: bool = False,
) -> Callable[[View], View]:
    """For a view that takes a body of ``fields`` and answers with ``answer``, or with a stream that
    ``about_stream`` tells of."""
    about = f"The answer; with `stream`, {about_stream}" if about_stream else "The answer."
    answers: dict[Any, OpenApiResponse] = {(200, "application/json"): OpenApiResponse(answer, about)}
    if about_stream:
        answers[200, "text/event-stream"] = OpenApiResponse(EVENT, about)
    decorate: Callable[[View], View] = extend_schema(
        summary=summary,
        description=description,
        parameters=[IDEMPOTENCY_KEY],
        request={"application/json": request_schema(fields)},
        responses={
            **answers,
            **refusals(400, 404, 409, 413, 415, 422, 503, anthropic=anthropic),
        },
        examples=examples,
        tags=["Text"],
    )
    return decorate


def example(asked: Json, answered: Json) -> list[OpenApiExample]:
    """A request and its answer."""
    return [
        OpenApiExample("A request", request_only=True, value=asked),
        OpenApiExample("Its answer", response_only=True, status_codes=["200"], value=answered),
    ]


STREAMED = "events: `data: {chunk}` for each piece, `data: [DONE]` at the end."
describes_completions = describes(
    "Continue a text",
    "Choices are prompts x `n`, in order. Fields that this server cannot honour are refused by name.",
    COMPLETION_FIELDS,
    COMPLETION,
    COMPLETION_EXAMPLES,
    STREAMED,
)
describes_models = extend_schema(
    operation_id="list_models",
    summary="List models and their aliases",
    description="`root` is the model that answers to a name.",
    responses={200: OpenApiResponse(MODELS), **refusals()},
    tags=["Models"],
)
describes_model = extend_schema(
    operation_id="get_model",
    summary="One model or alias",
    description="As in the list.",
    responses={200: OpenApiResponse(MODEL), **refusals(404)},
    tags=["Models"],
)
