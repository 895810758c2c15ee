"""What the OpenAPI schema says about /v1/files and /v1/batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema

from apikeys.errors import ServiceError
from serving.batches.models import OPEN
from serving.batches.schemas import (
    BATCH_FIELDS,
    BATCH_PAGE_FIELDS,
    FILE_PAGE_FIELDS,
    PURPOSES,
    UPLOAD_FIELDS,
)
from serving.errors import NotFound
from serving.fields import Field, Refused
from serving.openapi import (
    IDEMPOTENCY_KEY,
    INTEGER,
    NULLABLE_STRING,
    STRING,
    Json,
    example,
    json_array,
    json_object,
    refusals,
    request_schema,
)

View = TypeVar("View", bound=Callable[..., Any])

NULLABLE_INTEGER: Json = {"type": "integer", "nullable": True}
ENDED = ("completed", "failed", "expired", "cancelled")
FILE = json_object(
    {
        "id": STRING,
        "object": {"type": "string", "enum": ["file"]},
        "bytes": INTEGER,
        "created_at": INTEGER,
        "expires_at": INTEGER,
        "filename": STRING,
        "purpose": {"type": "string", "enum": list(PURPOSES)},
        "status": {"type": "string", "enum": ["processed"]},
    }
)
BATCH_ERROR = json_object(
    {"code": STRING, "message": STRING, "param": NULLABLE_STRING, "line": NULLABLE_INTEGER}
)
_MOMENTS = ("in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")
BATCH = json_object(
    {
        "id": STRING,
        "object": {"type": "string", "enum": ["batch"]},
        "endpoint": STRING,
        "errors": {
            **json_object({"object": {"type": "string", "enum": ["list"]}, "data": json_array(BATCH_ERROR)}),
            "nullable": True,
        },
        "input_file_id": STRING,
        "completion_window": {"type": "string", "enum": ["24h"]},
        "status": {"type": "string", "enum": [*OPEN, *ENDED]},
        "output_file_id": NULLABLE_STRING,
        "error_file_id": NULLABLE_STRING,
        "created_at": INTEGER,
        "expires_at": INTEGER,
        **{f"{moment}_at": NULLABLE_INTEGER for moment in _MOMENTS},
        "request_counts": json_object({"total": INTEGER, "completed": INTEGER, "failed": INTEGER}),
        "metadata": {"type": "object", "nullable": True, "additionalProperties": STRING},
    }
)

FILE_EXAMPLE = {
    "id": "file-4f6c1d0e8b9a4c7d9e2f3a5b6c7d8e9f",
    "object": "file",
    "bytes": 214,
    "created_at": 1763800000,
    "expires_at": 1766392000,
    "filename": "questions.jsonl",
    "purpose": "batch",
    "status": "processed",
}
BATCH_EXAMPLE = {
    "id": "batch_7d9e2f3a5b6c7d8e9f4f6c1d0e8b9a4c",
    "object": "batch",
    "endpoint": "/v1/chat/completions",
    "errors": None,
    "input_file_id": FILE_EXAMPLE["id"],
    "completion_window": "24h",
    "status": "completed",
    "output_file_id": "file-7d9e2f3a5b6c7d8e9f4f6c1d0e8b9a4c-output",
    "error_file_id": None,
    "created_at": 1763800001,
    "expires_at": 1763886401,
    **dict.fromkeys([f"{moment}_at" for moment in _MOMENTS]),
    "in_progress_at": 1763800002,
    "finalizing_at": 1763800009,
    "completed_at": 1763800009,
    "request_counts": {"total": 2, "completed": 2, "failed": 0},
    "metadata": {"run": "nightly"},
}
NEW_BATCH_EXAMPLE = {
    "input_file_id": FILE_EXAMPLE["id"],
    "endpoint": "/v1/chat/completions",
    "completion_window": "24h",
    "metadata": {"run": "nightly"},
}
_NO_FILE = NotFound("No such file: 'file-4f6c'.", param="file_id")
_NO_INPUT = NotFound("No such file: 'file-4f6c'.", param="input_file_id")
_NO_BATCH = NotFound("No such batch: 'batch_7d9e'.", param="batch_id")


def _list_of(shape: Json) -> Json:
    return json_object(
        {
            "object": {"type": "string", "enum": ["list"]},
            "data": json_array(shape),
            "first_id": NULLABLE_STRING,
            "last_id": NULLABLE_STRING,
            "has_more": {"type": "boolean"},
        }
    )


def _describes(
    operation: str, summary: str, description: str, answer: Any, *refused: int | ServiceError, **more: Any
) -> Callable[[View], View]:
    """``answer``: that of 200, or as ``extend_schema`` takes several."""
    answers = answer if isinstance(answer, dict) else {200: answer}
    decorate: Callable[[View], View] = extend_schema(
        operation_id=operation,
        summary=summary,
        description=description,
        responses={**answers, **refusals(*refused)},
        tags=["Batches"],
        **more,
    )
    return decorate


def _query(fields: Mapping[str, Field | Refused]) -> list[OpenApiParameter]:
    return [
        OpenApiParameter(name, field.described(), description=field.schema.get("description", ""))
        for name, field in fields.items()
        if isinstance(field, Field)
    ]


def _shown(value: Json) -> list[OpenApiExample]:
    return [OpenApiExample("The answer", response_only=True, status_codes=["200"], value=value)]


describes_upload = _describes(
    "upload_file",
    "Upload a file",
    "JSON lines, one request on each, for a batch. Kept for 30 days.",
    OpenApiResponse(FILE),
    *(400, 409, 413, 415, 422),
    parameters=[IDEMPOTENCY_KEY],
    request={"multipart/form-data": request_schema(UPLOAD_FIELDS)},
    examples=_shown(FILE_EXAMPLE),
)
describes_files = _describes(
    "list_files",
    "List files",
    "Those of the key's project, newest first.",
    OpenApiResponse(_list_of(FILE)),
    400,
    parameters=_query(FILE_PAGE_FIELDS),
)
describes_file = _describes("get_file", "One file", "As in the list.", OpenApiResponse(FILE), _NO_FILE)
describes_deletion = _describes(
    "delete_file",
    "Delete a file",
    "Not while a batch needs it.",
    OpenApiResponse(json_object({"id": STRING, "object": STRING, "deleted": {"type": "boolean"}})),
    *(_NO_FILE, 409),
)
describes_content = _describes(
    "get_file_content",
    "What is in a file",
    "Byte for byte.",
    {(200, "application/octet-stream"): OpenApiTypes.BINARY},
    _NO_FILE,
)
describes_new_batch = _describes(
    "create_batch",
    "Create a batch",
    "Its requests are answered when nobody else waits, within a day. They take no places in the key's "
    "bucket; their tokens count like any others.",
    OpenApiResponse(BATCH),
    *(400, _NO_INPUT, 409, 413, 415, 422),
    parameters=[IDEMPOTENCY_KEY],
    request={"application/json": request_schema(BATCH_FIELDS)},
    examples=example(NEW_BATCH_EXAMPLE, BATCH_EXAMPLE),
)
describes_batches = _describes(
    "list_batches",
    "List batches",
    "Those of the key's project, newest first.",
    OpenApiResponse(_list_of(BATCH)),
    400,
    parameters=_query(BATCH_PAGE_FIELDS),
)
describes_batch = _describes(
    "get_batch",
    "One batch",
    "How far it is.",
    OpenApiResponse(BATCH),
    _NO_BATCH,
    examples=_shown(BATCH_EXAMPLE),
)
describes_cancellation = _describes(
    "cancel_batch",
    "Cancel a batch",
    "What is being answered is stopped; what has been answered is in its files in a moment.",
    OpenApiResponse(BATCH),
    *(400, _NO_BATCH, 409, 422),
    parameters=[IDEMPOTENCY_KEY],
    request=None,
)
