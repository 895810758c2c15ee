"""The API: /v1/..., and whether the server is alive and ready."""

from __future__ import annotations

import json
from typing import Any

from asgiref.sync import sync_to_async
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from rest_framework.request import Request

from apikeys.errors import InvalidApiKey
from apikeys.jwt import known as known_tokens
from apikeys.jwt import signing
from serving import metrics, runtime
from serving.answers import TextAnswer
from serving.api_view import ApiView, GenerationView, caller_of
from serving.docs import openapi_schema
from serving.errors import ModelNotFound, ModelNotReady, error_body, json_response
from serving.openapi import (
    describes_completions,
    describes_model,
    describes_models,
)
from serving.runtime import ModelStatus
from serving.schemas import (
    CompletionRequest,
    parse_completion_request,
)


class CompletionsView(GenerationView):
    endpoint = "/v1/completions"
    answer = TextAnswer

    def parse(self, body: Any) -> CompletionRequest:
        return parse_completion_request(body)

    @describes_completions
    async def post(self, request: Request) -> HttpResponseBase:
        return await self.generate(request)


class ModelsView(ApiView):
    @describes_models
    async def get(self, request: Request) -> HttpResponseBase:
        data = [
            _model_object(name, status)
            for status in runtime.status()
            for name in (status.name, *status.spec.aliases)
            if caller_of(request).may_use(name, status.name)
        ]
        return json_response({"object": "list", "data": data})


class ModelView(ApiView):
    @describes_model
    async def get(self, request: Request, name: str) -> HttpResponseBase:
        status = runtime.find(name)
        if not caller_of(request).may_use(name, status.name):
            raise ModelNotFound(name)
        return json_response(_model_object(name, status))


class PublicView(ApiView):
    """For anybody, without a key."""

    authentication_classes = ()
    permission_classes = ()
    schema = None


class AliveView(PublicView):
    """The process answers. Says nothing about models: restarting does not help those."""

    async def get(self, request: Request) -> HttpResponseBase:
        return json_response({"status": "alive"})


class ReadyView(PublicView):
    """Whether every model is loaded; if not, 503 and why."""

    async def get(self, request: Request) -> HttpResponseBase:
        statuses = runtime.status()
        models = [_readiness(status) for status in statuses]
        waiting = [_why_not_ready(status) for status in statuses if status.state != "ready"]
        if waiting or not statuses:
            error = ModelNotReady(" ".join(waiting) or "No model has been declared yet.")
            return json_response({**error_body(error), "models": models}, status=503)
        return json_response({"status": "ready", "models": models})


class MetricsView(PublicView):
    """For Prometheus: docs/settings.md lists what it is told."""

    async def get(self, request: Request) -> HttpResponseBase:
        if not metrics.may_scrape(request.META):
            raise InvalidApiKey("Metrics are for those who send METRICS_TOKEN as a Bearer token.")
        return HttpResponse(metrics.render(), content_type=metrics.CONTENT_TYPE)


class JwksView(PublicView):
    """The keys with which anybody can check this site's access tokens."""

    async def get(self, request: Request) -> HttpResponseBase:
        keys = [json.loads(key) for key in await sync_to_async(known_tokens.published)()]
        max_age = int(signing.ANNOUNCED.total_seconds())
        return json_response({"keys": keys}, headers={"Cache-Control": f"public, max-age={max_age}"})


class SchemaView(PublicView):
    async def get(self, request: Request) -> HttpResponseBase:
        return json_response(await sync_to_async(openapi_schema)())


def _model_object(name: str, status: ModelStatus) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": status.created,
        "owned_by": "open-autoglm-console",
        "root": status.name,
        "max_model_len": status.context_length,
    }


def _readiness(status: ModelStatus) -> dict[str, Any]:
    return {
        "id": status.name,
        "state": status.state,
        "progress": round(status.progress, 3),
        "reason": status.reason or None,
    }


def _why_not_ready(status: ModelStatus) -> str:
    if status.state == "failed":
        return f"{status.name} could not be loaded: {status.reason}"
    return f"{status.name} is being loaded ({status.activity}, {status.progress:.0%})."
