"""The lines of an input file: each one a request, as OpenAI writes it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings

from serving.errors import BadRequest
from serving.fields import Field, Refused, parse_fields, parse_text, string, wrong_type
from serving.schemas import parse_json

MAX_LINES = 50_000
MAX_CUSTOM_ID = 512  # characters


@dataclass(frozen=True, slots=True)
class InputLine:
    """One request. ``number``: of its line in the file, from 1; ``body``: its JSON, in UTF-8."""

    number: int
    custom_id: str
    body: bytes


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Each line that is not blank, and its number. Raises BadRequest for one that no request could hold."""
    longest = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    number = 0
    with path.open("rb") as file:
        while raw := file.readline(longest + 1):
            number += 1
            if len(raw) > longest:
                raise BadRequest(f"Line {number} is longer than {longest} bytes.", param="file")
            if raw.strip():
                yield number, raw


def check_file(path: Path) -> None:
    """Raises BadRequest unless every line is a JSON object, and there are from 1 to MAX_LINES."""
    lines = 0
    for number, raw in read_lines(path):
        lines += 1
        if lines > MAX_LINES:
            raise BadRequest(f"The file has more than {MAX_LINES} requests.", param="file")
        if not isinstance(_parse(number, raw), dict):
            raise BadRequest(f"Line {number} is not a JSON object.", param="file", code="invalid_json_line")
    if not lines:
        raise BadRequest("The file holds no request.", param="file", code="empty_file")


def parse_line(number: int, raw: bytes, endpoint: str) -> InputLine:
    """Raises BadRequest, which names the field. Whether the body is a good one, the endpoint will say."""
    values = parse_fields(_parse(number, raw), LINE_FIELDS, frozenset())
    if values["url"] != endpoint:
        raise BadRequest(
            f"The batch is for {endpoint}; this line asks {values['url']}.",
            param="url",
            code="mismatched_endpoint",
        )
    if values["body"].get("stream"):
        raise BadRequest("Nobody is there to read a stream.", param="body.stream", code="invalid_stream")
    return InputLine(number, values["custom_id"], json.dumps(values["body"]).encode())


def _parse(number: int, raw: bytes) -> Any:
    try:
        return parse_json(raw)
    except BadRequest as error:
        message = error.message.replace("The body", f"Line {number}", 1)
        raise BadRequest(message, param="file", code="invalid_json_line") from error


def _parse_custom_id(value: Any, path: str) -> str:
    text = parse_text(value, path)
    if not 1 <= len(text) <= MAX_CUSTOM_ID:
        raise BadRequest(f"'{path}' must have from 1 to {MAX_CUSTOM_ID} characters.", param=path)
    return text


def _parse_body(value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise wrong_type(path, "an object", value)
    return value


LINE_FIELDS: dict[str, Field | Refused] = {
    "custom_id": Field(_parse_custom_id, {"type": "string"}, required=True),
    "method": string(required=True, choices=("POST",)),
    "url": string(required=True),
    "body": Field(_parse_body, {"type": "object"}, required=True),
}
