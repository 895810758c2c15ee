"""Anthropic's endpoints: /v1/messages and /v1/messages/count_tokens."""

from __future__ import annotations

import asyncio
from typing import Any

from django.http.response import HttpResponseBase
from rest_framework.request import Request

from serving import runtime
from serving.anthropic.answers import MessageAnswer
from serving.anthropic.openapi import describes_count_tokens, describes_messages
from serving.anthropic.schemas import parse_count_request, parse_messages_request
from serving.api_view import ApiView, GenerationView, caller_of
from serving.chat.schemas import ChatRequest
from serving.completions import CompletionStream
from serving.errors import json_response
from serving.middleware import request_id_of
from serving.prompts import encode_chat
from serving.receipts import Receipt, admitted
from serving.schemas import CompletionRequest


class MessagesView(GenerationView):
    endpoint = "/v1/messages"

    def parse(self, body: Any) -> ChatRequest:
        return parse_messages_request(body)

    def answer_to(self, asked: CompletionRequest | ChatRequest, stream: CompletionStream) -> MessageAnswer:
        return MessageAnswer(stream)

    @describes_messages
    async def post(self, request: Request) -> HttpResponseBase:
        return await self.generate(request)


class CountTokensView(ApiView):
    endpoint = "/v1/messages/count_tokens"

    @describes_count_tokens
    async def post(self, request: Request) -> HttpResponseBase:
        asked = await self.parse_body(request, parse_count_request)
        receipt = Receipt(caller_of(request), request_id_of(request), self.endpoint)
        receipt.model = asked.model
        async with admitted(receipt) as permit:
            backend = runtime.get_for(receipt.caller, asked.model)
            receipt.model = backend.name
            tokens = await asyncio.to_thread(encode_chat, backend, asked.messages, asked.tail)
            receipt.write(200)
        return json_response({"input_tokens": len(tokens)}, headers=permit.headers)
