"""The base of the views under /api/v1."""

from __future__ import annotations

from typing import Any

from asgiref.sync import async_to_sync
from django.http import HttpRequest
from rest_framework.pagination import PageNumberPagination
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from apikeys.auth import ApiKeyAuthentication
from apikeys.limits import Permit, admit
from console.api import errors
from console.api.credentials import BrowserSession, MayManage, caller_of
from console.api.parsing import StrictParser, StrictSerializer
from serving.api_view import AlwaysJSON


class Pages(PageNumberPagination):
    page_size = 20
    page_size_query_param = "page_size"
    max_page_size = 100


class ManagementViewSet(GenericViewSet[Any]):
    """Each request takes a place in the same bucket as those to /v1: of its key, or of its person."""

    permission_classes = (IsAuthenticated, MayManage)
    parser_classes = (StrictParser,)
    content_negotiation_class = AlwaysJSON
    pagination_class = Pages
    permit: Permit | None = None

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Request:
        """A chunked body has no length, and REST framework then sees no body."""
        if not request.META.get("CONTENT_LENGTH"):
            request.META["CONTENT_LENGTH"] = str(len(request.body))
        return super().initialize_request(request, *args, **kwargs)

    def get_authenticators(self) -> Any:
        """Whoever brings neither key nor token may be a browser."""
        with_key, browser = ApiKeyAuthentication(), BrowserSession()
        if getattr(self, "swagger_fake_view", False) or with_key.authorization(self.request) is not None:
            return [with_key, browser]
        return [browser]

    def check_throttles(self, request: Request) -> None:
        if request.auth is not None:
            self.permit = async_to_sync(admit)(caller_of(request), spends=False)

    def finalize_response(self, request: Request, response: Response, *args: Any, **kwargs: Any) -> Response:
        answer = super().finalize_response(request, response, *args, **kwargs)
        answer.headers.setdefault("Cache-Control", "no-store")
        if self.permit is not None:
            self.permit.release()
            for name, value in self.permit.headers.items():
                answer.headers.setdefault(name, value)
        return answer

    def get_exception_handler(self) -> Any:
        return errors.respond

    def asked(self, serializer: type[StrictSerializer], data: Any) -> dict[str, Any]:
        """What the body or the query says. Raises ValidationError, which names the fields."""
        reader = serializer(data=data, context=self.get_serializer_context())
        reader.is_valid(raise_exception=True)
        return dict(reader.validated_data)
