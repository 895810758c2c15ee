"""The base of the views under /v1."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, TypeVar, cast

from adrf.views import APIView
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from apikeys.auth import Caller
from apikeys.errors import ServiceError
from serving.completions import refuse
from serving.errors import UnsupportedMediaType
from serving.middleware import request_id_of
from serving.schemas import parse_json

Parsed = TypeVar("Parsed")


class AlwaysJSON(DefaultContentNegotiation):
    """Clients of this API send any ``Accept``; none of them wants a 406."""

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        renderer = next(iter(renderers))
        return renderer, renderer.media_type


class ApiView(APIView):  # type: ignore[misc]  # adrf has no types
    """``request.auth`` is the Caller; ``endpoint`` is what its usage records say."""

    http_method_names = ("get", "head", "post")
    content_negotiation_class = AlwaysJSON
    endpoint: ClassVar[str] = ""

    async def parse_body(self, request: Request, parse: Callable[[Any], Parsed]) -> Parsed:
        """Raises BadRequest, which is recorded as any other end of a request."""
        try:
            return parse(_read_json(request))
        except ServiceError as error:
            raise await refuse(
                caller_of(request), error, request_id=request_id_of(request), endpoint=self.endpoint
            ) from error


def caller_of(request: Request) -> Caller:
    return cast(Caller, request.auth)


def _read_json(request: Request) -> Any:
    """The body, also of a chunked request, in which REST framework's ``request.data`` sees nothing."""
    if request.content_type.partition(";")[0].strip().lower() != "application/json":
        raise UnsupportedMediaType("Send the body as JSON, with Content-Type: application/json.")
    return parse_json(request.body)
