"""Tokens without a completion: /v1/tokenize and /v1/detokenize, in vLLM's shapes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import Any

from django.http.response import HttpResponseBase
from rest_framework.request import Request

from serving import runtime
from serving.api_view import ApiView, caller_of
from serving.backends import Backend
from serving.chat.schemas import MESSAGES_FIELD, TAIL_FIELDS, parse_tail
from serving.errors import BadRequest, json_response
from serving.fields import Field, Refused, boolean, parse_boolean, parse_fields, string, wrong_type
from serving.messages import Message, Tail
from serving.middleware import request_id_of
from serving.openapi import INTEGER, STRING, describes, example, json_array, json_object
from serving.prompts import encode_chat, encode_text
from serving.receipts import Receipt, admitted
from serving.schemas import MODEL_FIELD, parse_token_ids


@dataclass(frozen=True, slots=True)
class TokenizeRequest:
    """Either ``prompt`` or ``messages`` is there."""

    model: str
    prompt: str | None
    messages: tuple[Message, ...] | None
    special: bool
    tail: Tail
    spelled: bool

    def encode(self, backend: Backend) -> tuple[int, ...]:
        if self.messages is not None:
            return encode_chat(backend, self.messages, self.tail)
        return encode_text(backend, self.prompt or "", special=self.special)


@dataclass(frozen=True, slots=True)
class DetokenizeRequest:
    model: str
    tokens: tuple[int, ...]


def parse_tokenize_request(body: Any) -> TokenizeRequest:
    """Raises BadRequest, which names the field."""
    values = parse_fields(body, TOKENIZE_FIELDS, frozenset())
    prompt, messages, special = values["prompt"], values["messages"], values["add_special_tokens"]
    if (prompt is None) == (messages is None):
        raise BadRequest("Send either 'prompt' or 'messages'.", param="prompt")
    if messages is not None and special:
        raise BadRequest("The chat template adds the special tokens itself.", param="add_special_tokens")
    return TokenizeRequest(
        values["model"],
        prompt,
        messages,
        special is not False,
        parse_tail(values),
        values["return_token_strs"],
    )


def parse_detokenize_request(body: Any) -> DetokenizeRequest:
    """Raises BadRequest, which names the field."""
    return DetokenizeRequest(**parse_fields(body, DETOKENIZE_FIELDS, frozenset()))


def _parse_tokens(value: Any, path: str) -> tuple[int, ...]:
    if not isinstance(value, list):
        raise wrong_type(path, "an array of token ids", value)
    return parse_token_ids(value, path) if value else ()


TOKENIZE_FIELDS: dict[str, Field | Refused] = {
    "model": MODEL_FIELD,
    "prompt": string("The text; or send messages."),
    "messages": replace(MESSAGES_FIELD, required=False),
    "add_special_tokens": Field(
        parse_boolean,
        {
            "type": "boolean",
            "description": "For a prompt: with those that belong before it. True when left out.",
        },
    ),
    **TAIL_FIELDS,
    "return_token_strs": boolean(about="Spell each token too, as the vocabulary writes it."),
    "chat_template": Refused("The model has its own."),
    "chat_template_kwargs": Refused("The model's template is used as it is.", ({},)),
    "mm_processor_kwargs": Refused("Its models read text.", ({},)),
    "tools": Refused("It has no tools.", ([],)),
}
DETOKENIZE_FIELDS: dict[str, Field | Refused] = {
    "model": MODEL_FIELD,
    "tokens": Field(
        _parse_tokens,
        {"type": "array", "items": {"type": "integer", "minimum": 0}, "description": "Token ids."},
        required=True,
    ),
}

TOKENIZED = json_object(
    {
        "count": INTEGER,
        "max_model_len": INTEGER,
        "tokens": json_array(INTEGER),
        "token_strs": {**json_array(STRING), "nullable": True},
    }
)
DETOKENIZED = json_object({"prompt": STRING})
MODEL = "open-autoglm-7b"


class TokenizeView(ApiView):
    endpoint = "/v1/tokenize"

    @describes(
        "Turn text into tokens",
        "A prompt, or messages through the model's chat template, exactly as a completion would see it.",
        TOKENIZE_FIELDS,
        TOKENIZED,
        example(
            {"model": MODEL, "prompt": "Hello!"},
            {"count": 2, "max_model_len": 2048, "tokens": [19556, 17], "token_strs": None},
        ),
    )
    async def post(self, request: Request) -> HttpResponseBase:
        asked = await self.parse_body(request, parse_tokenize_request)
        receipt = Receipt(caller_of(request), request_id_of(request), self.endpoint)
        receipt.model = asked.model
        async with admitted(receipt) as permit:
            backend = runtime.get_for(receipt.caller, asked.model)
            receipt.model = backend.name
            tokens = await asyncio.to_thread(asked.encode, backend)
            receipt.write(200)
        body = {
            "count": len(tokens),
            "max_model_len": backend.context_length,
            "tokens": tokens,
            "token_strs": backend.tokenizer.spell(tokens) if asked.spelled else None,
        }
        return json_response(body, headers=permit.headers)


class DetokenizeView(ApiView):
    endpoint = "/v1/detokenize"

    @describes(
        "Turn tokens into text",
        "Special tokens are spelled out.",
        DETOKENIZE_FIELDS,
        DETOKENIZED,
        example({"model": MODEL, "tokens": [19556, 17]}, {"prompt": "Hello!"}),
    )
    async def post(self, request: Request) -> HttpResponseBase:
        asked = await self.parse_body(request, parse_detokenize_request)
        receipt = Receipt(caller_of(request), request_id_of(request), self.endpoint)
        receipt.model = asked.model
        async with admitted(receipt) as permit:
            backend = runtime.get_for(receipt.caller, asked.model)
            receipt.model, tokenizer = backend.name, backend.tokenizer
            if not tokenizer.knows(asked.tokens):
                raise BadRequest("'tokens' must hold ids from the model's vocabulary.", param="tokens")
            text = await asyncio.to_thread(tokenizer.decode, asked.tokens, special=True)
            receipt.write(200)
        return json_response({"prompt": text}, headers=permit.headers)
