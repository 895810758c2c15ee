"""/v1/responses, and those that are kept."""

from __future__ import annotations

from django.http.response import HttpResponseBase
from rest_framework.request import Request

from apikeys.errors import ServiceError
from serving.api_view import ApiView, answer_with, caller_of
from serving.completions import refuse, start_completion
from serving.errors import json_response
from serving.middleware import request_id_of
from serving.responses import store
from serving.responses.answers import ResponseAnswer
from serving.responses.openapi import describes_deletion, describes_response, describes_responses
from serving.responses.schemas import ResponseRequest, parse_response_request


class ResponsesView(ApiView):
    endpoint = "/v1/responses"

    @describes_responses
    async def post(self, request: Request) -> HttpResponseBase:
        caller, request_id = caller_of(request), request_id_of(request)
        asked = await self._recall(request, await self.parse_body(request, parse_response_request))
        stream = await start_completion(
            caller, asked.instructed(), request_id=request_id, endpoint=self.endpoint
        )
        return await answer_with(ResponseAnswer(stream, asked, caller.user_id), stream, asked.chat)

    async def _recall(self, request: Request, asked: ResponseRequest) -> ResponseRequest:
        caller = caller_of(request)
        if asked.previous is None:
            return asked
        try:
            return asked.after(await store.conversation(caller.user_id, asked.previous))
        except ServiceError as error:
            raise await refuse(
                caller, error, request_id=request_id_of(request), endpoint=self.endpoint
            ) from error


class ResponseView(ApiView):
    http_method_names = ("get", "head", "delete")

    @describes_response
    async def get(self, request: Request, response_id: str) -> HttpResponseBase:
        return json_response(await store.find(caller_of(request).user_id, response_id))

    @describes_deletion
    async def delete(self, request: Request, response_id: str) -> HttpResponseBase:
        await store.forget(caller_of(request).user_id, response_id)
        return json_response({"id": response_id, "object": "response", "deleted": True})
