"""An upload on its way to the disk: never more of it in memory than one chunk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.exceptions import SuspiciousOperation
from django.core.files.uploadhandler import FileUploadHandler
from django.http import HttpRequest
from django.http.multipartparser import MultiPartParser, MultiPartParserError

from serving.errors import BadRequest, BodyTooLarge, UnsupportedMediaType

NAME_LIMIT = 255  # characters


class _ToDisk(FileUploadHandler):
    """Writes the part named ``file`` to ``path``, and takes no other file. ``name`` is what it was called."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.name: str | None = None
        self._path = path

    def new_file(self, field_name: str, file_name: str, *args: Any, **kwargs: Any) -> None:
        if field_name != "file" or self.name is not None:
            raise BadRequest("Send one file, as 'file'.", param=field_name)
        self.name = file_name[:NAME_LIMIT]
        self._out = self._path.open("wb")

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        if start + len(raw_data) > settings.FILE_MAX_BYTES:
            raise BodyTooLarge(f"The file is larger than {settings.FILE_MAX_BYTES} bytes.")
        self._out.write(raw_data)

    def file_complete(self, file_size: int) -> None:
        self._out.close()

    def close(self) -> None:
        if self.name is not None:
            self._out.close()


def receive(request: HttpRequest, path: Path) -> tuple[dict[str, str], str]:
    """Write the file of a form to ``path``, unless there is an error. The form's other fields, and the file's
    name. Raises BadRequest, BodyTooLarge or UnsupportedMediaType. For a worker thread."""
    if request.content_type != "multipart/form-data":
        raise UnsupportedMediaType("Send the file in a form: Content-Type: multipart/form-data.")
    writer = _ToDisk(path)
    try:
        fields, _ = MultiPartParser(_with_length(request.META), request, [writer]).parse()
    except (MultiPartParserError, SuspiciousOperation) as error:
        raise BadRequest(f"The form cannot be read: {error}") from error
    finally:
        writer.close()
    if writer.name is None:
        raise BadRequest(
            "Missing required parameter: 'file'.", param="file", code="missing_required_parameter"
        )
    return {name: str(value) for name, value in fields.items()}, writer.name


def _with_length(meta: Mapping[str, Any]) -> dict[str, Any]:
    """A chunked body says no length, and the parser takes that for no body at all."""
    return {**meta, "CONTENT_LENGTH": meta.get("CONTENT_LENGTH") or "1"}
