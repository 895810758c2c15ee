"""A file on its way to whoever asks for it: never more of it in memory than one chunk."""

from __future__ import annotations

import asyncio
from typing import BinaryIO, Self

from django.http import StreamingHttpResponse

from serving.batches.files import path_of
from serving.batches.models import StoredFile
from serving.errors import NotFound

CHUNK = 256 * 1024  # bytes


def file_response(file: StoredFile) -> StreamingHttpResponse:
    """Raises NotFound when the bytes are gone. For a worker thread."""
    try:
        body = _Body(path_of(file.id).open("rb"))
    except FileNotFoundError:
        raise NotFound(f"The bytes of '{file.id}' are gone.", param="file_id") from None
    headers = {
        "Content-Length": str(file.bytes),
        "Content-Disposition": f'attachment; filename="{file.id}.jsonl"',
        "X-Content-Type-Options": "nosniff",
    }
    return StreamingHttpResponse(body, headers=headers, content_type="application/octet-stream")


class _Body:
    """An object, not a generator, so that the file is closed however the answer ends (see serving/sse.py)."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if chunk := await asyncio.to_thread(self._file.read, CHUNK):
            return chunk
        raise StopAsyncIteration

    def close(self) -> None:
        self._file.close()
