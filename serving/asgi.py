"""The API as an ASGI application of its own, without the middleware that pages need."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import IO, Any

from django.conf import settings
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from apikeys.errors import PermissionDenied, ServiceError
from serving.errors import BadRequest, BodyTooLarge, to_response
from serving.handler import LightHandler
from serving.handler import Message as Message
from serving.handler import Receive as Receive
from serving.handler import Scope as Scope
from serving.handler import Send as Send
from serving.middleware import HEADER, api_middleware, new_request_id

Application = Callable[..., Awaitable[Any]]  # (scope, receive, send); every library types these otherwise


API_PATHS = ("/v1", "/healthz", "/readyz", "/metrics", "/.well-known/jwks.json")
FORM_OVERHEAD = 64 * 1024  # bytes that a form may have around its file


def body_limit(path: str) -> int:
    """The most bytes that a request to ``path`` may have in its body."""
    if path == "/v1/files":
        return settings.FILE_MAX_BYTES + FORM_OVERHEAD
    return settings.DATA_UPLOAD_MAX_MEMORY_SIZE


def is_api_path(path: str) -> bool:
    return path.startswith(("/v1/", "/api/")) or path in API_PATHS


class ApiHandler(LightHandler):
    """Sessions, CSRF and languages are for browsers: each costs a hop to a thread, and answers in HTML."""

    def load_middleware(self, is_async: bool = True) -> None:
        self._view_middleware: list[Any] = []
        self._template_response_middleware: list[Any] = []
        self._exception_middleware: list[Any] = []
        self._middleware_chain = api_middleware(self._get_response_async)  # type: ignore[attr-defined]

    async def get_response_async(self, request: HttpRequest) -> HttpResponseBase:
        """As Django's, which logs every 4xx, in a thread each."""
        response = await self._middleware_chain(request)
        response._resource_closers.append(request.close)  # type: ignore[attr-defined]
        return response

    def create_request(
        self, scope: Mapping[str, Any], body_file: IO[bytes]
    ) -> tuple[ASGIRequest, None] | tuple[None, HttpResponse]:
        request, _ = super().create_request(scope, body_file)
        if request is not None:
            return request, None
        refusal = to_response(BadRequest("The request line cannot be read."))
        refusal[HEADER] = new_request_id()
        return None, refusal


async def turn_away(scope: Scope, send: Send) -> None:
    """Answers 403 to somebody whose address is blocked, without a look at what they send."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close"})
        return
    await _answer(PermissionDenied("Requests from your address are blocked."), scope["path"], send)


class BodyLimit:
    """Answers 413 to a body of more than ``body_limit`` bytes, and keeps none of it.

    The body is read to its end all the same: a client that is cut off while it sends does not get to
    read the answer.
    """

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        length, limit = dict(scope["headers"]).get(b"content-length", b"0"), body_limit(scope["path"])
        if length.isdigit() and int(length) > limit:
            await _drain(await receive(), receive)
            await self._refuse(scope["path"], send)
            return
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > limit:
                await _drain(message, receive)
                raise _TooMuch
            return message

        try:
            await self._application(scope, counted, send)
        except _TooMuch:
            await self._refuse(scope["path"], send)

    async def _refuse(self, path: str, send: Send) -> None:
        await _answer(BodyTooLarge(f"The body is larger than {body_limit(path)} bytes."), path, send)


async def _answer(error: ServiceError, path: str, send: Send) -> None:
    response = to_response(error, path)
    response[HEADER] = new_request_id()
    headers = [(name.lower().encode(), value.encode()) for name, value in response.items()]
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": response.content})


async def _drain(message: Message, receive: Receive) -> None:
    while message.get("more_body"):
        message = await receive()


class _TooMuch(Exception):
    """The body has gone over the limit, whatever its header said."""
