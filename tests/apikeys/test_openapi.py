from __future__ import annotations

from adrf.views import APIView
from django.http import HttpResponse
from django.urls import path
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.permissions import IsAuthenticated

from apikeys.auth import ApiKeyAuthentication


class Anything(APIView):  # type: ignore[misc]
    authentication_classes = (ApiKeyAuthentication,)
    permission_classes = (IsAuthenticated,)

    @extend_schema(responses=OpenApiTypes.OBJECT)
    async def get(self, request: object) -> HttpResponse:
        return HttpResponse()


def test_the_schema_says_that_a_key_is_sent_as_a_bearer_token() -> None:
    generator = SchemaGenerator(patterns=[path("v1/anything", Anything.as_view())])  # type: ignore[no-untyped-call]
    schema = generator.get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    assert schema["paths"]["/v1/anything"]["get"]["security"] == [{"ApiKey": []}]
    assert schema["components"]["securitySchemes"]["ApiKey"]["scheme"] == "bearer"
