"""What may be asked of /v1/files and /v1/batches, parsed once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from serving.errors import BadRequest
from serving.fields import (
    Field,
    Refused,
    identifier,
    integer,
    parse_fields,
    parse_plain,
    parse_text,
    string,
    wrong_type,
)

ENDPOINTS = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings")
MAX_METADATA = 16
PURPOSES = ("batch", "batch_output")


@dataclass(frozen=True, slots=True)
class BatchRequest:
    endpoint: str
    input_file_id: str
    metadata: dict[str, str]


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Which part of a list: at most ``limit`` after the one whose id is ``after``, newest first unless
    ``order`` is "asc"."""

    limit: int
    after: str | None
    order: Literal["asc", "desc"] = "desc"
    purpose: str | None = None


def parse_batch_request(body: Any) -> BatchRequest:
    """Raises BadRequest, which names the field."""
    values = parse_fields(body, BATCH_FIELDS, frozenset())
    return BatchRequest(values["endpoint"], values["input_file_id"], values["metadata"])


def check_upload_fields(fields: Mapping[str, str]) -> None:
    """What an upload sends beside the file. Raises BadRequest."""
    plain = {name.partition("[")[0]: value for name, value in fields.items()}
    parse_fields({**plain, "file": ""}, UPLOAD_FIELDS, frozenset())


def parse_page(query: Mapping[str, str], fields: Mapping[str, Field | Refused]) -> PageRequest:
    """From a query string. Raises BadRequest, which names the field."""
    body = {name: _number(value) if name == "limit" else value for name, value in query.items()}
    return PageRequest(**parse_fields(body, fields, frozenset()))


def _number(text: str) -> int | str:
    """``text`` itself when it is none: the field says then what it should have been."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else text


def _parse_metadata(value: Any, path: str) -> dict[str, str]:
    if not isinstance(value, dict):
        raise wrong_type(path, "an object of strings", value)
    if len(value) > MAX_METADATA:
        raise BadRequest(f"'{path}' must hold at most {MAX_METADATA} entries; not {len(value)}.", param=path)
    return {parse_plain(name, path): parse_plain(text, f"{path}.{name}") for name, text in value.items()}


_KEPT = Refused("Files are kept for 30 days.")
_AFTER = identifier("The id of the last one of the page before.")
BATCH_FIELDS: dict[str, Field | Refused] = {
    "input_file_id": identifier("An uploaded file: one request on each line.", required=True),
    "endpoint": string("Where all of its requests go.", required=True, choices=ENDPOINTS),
    "completion_window": string("How long it may take.", required=True, choices=("24h",)),
    "metadata": Field(
        _parse_metadata,
        {"type": "object", "description": "Yours; the batch has it.", "maxProperties": MAX_METADATA},
        default={},
    ),
    "output_expires_after": _KEPT,
}
UPLOAD_FIELDS: dict[str, Field | Refused] = {
    "file": Field(
        parse_text,
        {"type": "string", "format": "binary", "description": "JSON lines: one request on each."},
        required=True,
    ),
    "purpose": string("What it is for.", required=True, choices=("batch",)),
    "expires_after": _KEPT,
}
BATCH_PAGE_FIELDS: dict[str, Field | Refused] = {
    "limit": integer(1, 100, 20, "At most so many."),
    "after": _AFTER,
}
FILE_PAGE_FIELDS: dict[str, Field | Refused] = {
    "limit": integer(1, 10_000, 10_000, "At most so many."),
    "after": _AFTER,
    "order": Field(
        string(choices=("asc", "desc")).parse,
        {"type": "string", "enum": ["asc", "desc"], "description": "By age."},
        default="desc",
    ),
    "purpose": string("Only those for it.", choices=PURPOSES),
}
