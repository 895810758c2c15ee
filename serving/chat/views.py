"""/v1/chat/completions."""

from __future__ import annotations

from typing import Any

from django.http.response import HttpResponseBase
from rest_framework.request import Request

from serving.api_view import GenerationView
from serving.chat.answers import ChatAnswer
from serving.chat.openapi import describes_chat_completions
from serving.chat.schemas import ChatRequest, parse_chat_request


class ChatCompletionsView(GenerationView):
    endpoint = "/v1/chat/completions"
    answer = ChatAnswer

    def parse(self, body: Any) -> ChatRequest:
        return parse_chat_request(body)

    @describes_chat_completions
    async def post(self, request: Request) -> HttpResponseBase:
        return await self.generate(request)
