"""/api/v1/models: the models of this server, and how they fare."""

from __future__ import annotations

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from console.api.openapi import describes
from console.api.parsing import ListQuery
from console.api.view import ManagementViewSet
from serving import runtime
from serving.runtime import ModelStatus

STATES = ["loading", "ready", "failed"]


class ModelListQuery(ListQuery):
    state = serializers.ChoiceField(choices=STATES, required=False)


class ModelStatusSerializer(serializers.Serializer[ModelStatus]):
    name = serializers.CharField()
    aliases = serializers.ListField(child=serializers.CharField(), source="spec.aliases")
    state = serializers.ChoiceField(choices=STATES)
    progress = serializers.FloatField(help_text="Of loading, from 0 to 1.")
    reason = serializers.CharField(help_text="Why it failed.")
    context_length = serializers.IntegerField(allow_null=True, help_text="Tokens; null until it is ready.")
    quantization = serializers.CharField(source="spec.quantization")


class ModelsViewSet(ManagementViewSet):
    serializer_class = ModelStatusSerializer
    lookup_field = "name"

    @describes(
        "list_server_models",
        "The models of this server, and how they fare",
        ModelStatusSerializer(many=True),
        tag="Server",
        query=[ModelListQuery],
    )
    def list(self, request: Request) -> Response:
        asked = self.asked(ModelListQuery, request.query_params.dict())
        found = [status for status in runtime.status() if asked.get("state") in (None, status.state)]
        page = self.paginate_queryset(found)
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

    @describes(
        "get_server_model",
        "One of them",
        ModelStatusSerializer,
        tag="Server",
        refused=(404,),
        answered={
            "name": "smollm2-135m-instruct",
            "aliases": ["open-autoglm-7b"],
            "state": "ready",
            "progress": 1.0,
            "reason": "",
            "context_length": 8192,
            "quantization": "int8",
        },
    )
    def retrieve(self, request: Request, name: str) -> Response:
        return Response(self.get_serializer(runtime.find(name)).data)
