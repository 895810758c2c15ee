"""/v1/embeddings, whole: a vector for each text, in OpenAI's shape.

Only some texts of a request are in the engine at a time, so that thousands do not fill its queue.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from rest_framework.request import Request

from serving import runtime, shedding
from serving.api_view import ApiView, caller_of
from serving.backends import Backend
from serving.engine.core import GenerationRequest
from serving.engine.errors import EngineError
from serving.errors import BadRequest, ContextTooLong, GenerationFailed, from_engine
from serving.fields import Field, Refused, integer, parse_fields, string
from serving.middleware import request_id_of
from serving.openapi import INTEGER, STRING, describes, example, json_array, json_object
from serving.prompts import encode_text
from serving.receipts import Receipt, admitted
from serving.schemas import MODEL_FIELD, PROMPT_FIELD, Prompt

MAX_INPUTS = 2048  # OpenAI's
MAX_TOKENS = 300_000  # OpenAI's, of all inputs together
AT_ONCE = 32

Floats = npt.NDArray[np.float32]
TokenIds = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class EmbeddingsRequest:
    """``dimensions``: None for all that the model has."""

    model: str
    inputs: tuple[Prompt, ...]
    in_base64: bool
    dimensions: int | None


def parse_embeddings_request(body: Any) -> EmbeddingsRequest:
    """Raises BadRequest, which names the field."""
    values = parse_fields(body, EMBEDDINGS_FIELDS, IGNORED)
    in_base64 = values["encoding_format"] == "base64"
    return EmbeddingsRequest(values["model"], values["input"], in_base64, values["dimensions"])


def _parse_input(value: Any, path: str) -> tuple[Prompt, ...]:
    if isinstance(value, list) and len(value) > MAX_INPUTS and not isinstance(value[0], int):
        raise BadRequest(f"'{path}' must hold at most {MAX_INPUTS} texts; not {len(value)}.", param=path)
    inputs: tuple[Prompt, ...] = PROMPT_FIELD.parse(value, path)
    return inputs


IGNORED = frozenset({"user"})
EMBEDDINGS_FIELDS: dict[str, Field | Refused] = {
    "model": MODEL_FIELD,
    "input": Field(_parse_input, PROMPT_FIELD.schema, required=True),
    "encoding_format": string(
        "A vector as numbers, or as the base64 of little-endian 32-bit floats.", choices=("float", "base64")
    ),
    "dimensions": integer(
        1, 2**31 - 1, about="Give the first so many, made a vector of length 1 again; all when left out."
    ),
    "add_special_tokens": Refused("They are added as the model has learnt them.", (True,)),
    "normalize": Refused("Every vector has length 1.", (True,)),
    "truncate_prompt_tokens": Refused("Send what fits the model's context."),
}

EMBEDDINGS = json_object(
    {
        "object": {"type": "string", "enum": ["list"]},
        "data": json_array(
            json_object(
                {
                    "object": {"type": "string", "enum": ["embedding"]},
                    "index": INTEGER,
                    "embedding": {"oneOf": [json_array({"type": "number"}), STRING]},
                }
            )
        ),
        "model": STRING,
        "usage": json_object({"prompt_tokens": INTEGER, "total_tokens": INTEGER}),
    }
)


class EmbeddingsView(ApiView):
    endpoint = "/v1/embeddings"

    @describes(
        "Turn texts into vectors",
        "Texts that mean something alike have vectors with a large dot product. Vectors have length 1.",
        EMBEDDINGS_FIELDS,
        EMBEDDINGS,
        example(
            {"model": "open-autoglm-7b", "input": "A dog barks.", "dimensions": 3},
            {
                "object": "list",
                "data": [{"object": "embedding", "index": 0, "embedding": [0.6, -0.48, 0.64]}],
                "model": "smollm2-135m-instruct",
                "usage": {"prompt_tokens": 5, "total_tokens": 5},
            },
        ),
    )
    async def post(self, request: Request) -> HttpResponseBase:
        asked = await self.parse_body(request, parse_embeddings_request)
        receipt = Receipt(caller_of(request), request_id_of(request), self.endpoint)
        receipt.model, receipt.asked = asked.model, list(asked.inputs)
        async with admitted(receipt) as permit:
            backend = runtime.get_for(receipt.caller, asked.model)
            receipt.model = backend.name
            _check_dimensions(asked, backend)
            shedding.check(receipt.caller, backend)
            prompts = await asyncio.to_thread(_encode, backend, asked)
            await receipt.reserve(sum(map(len, prompts)), 0)
            vectors = await _embed(backend, prompts, receipt)
            body = await asyncio.to_thread(_render, asked, backend.name, vectors, receipt.prompt_tokens)
            receipt.write(200)
        return HttpResponse(body, headers=permit.headers, content_type="application/json")


def _check_dimensions(asked: EmbeddingsRequest, backend: Backend) -> None:
    if asked.dimensions is not None and asked.dimensions > backend.hidden_size:
        raise BadRequest(
            f"'dimensions' must be at most {backend.hidden_size}, as many as this model has;"
            f" not {asked.dimensions}.",
            param="dimensions",
        )


def _encode(backend: Backend, asked: EmbeddingsRequest) -> list[TokenIds]:
    """Raises BadRequest, which names the input."""
    alone = len(asked.inputs) == 1
    prompts = [
        _encode_one(backend, given, "input" if alone else f"input[{index}]")
        for index, given in enumerate(asked.inputs)
    ]
    total = sum(map(len, prompts))
    if total > MAX_TOKENS:
        raise BadRequest(f"'input' must hold at most {MAX_TOKENS} tokens in all; not {total}.", param="input")
    return prompts


def _encode_one(backend: Backend, given: Prompt, param: str) -> TokenIds:
    ids = encode_text(backend, given, param=param) if isinstance(given, str) else given
    if not ids:
        raise BadRequest(f"'{param}' must not be empty.", param=param)
    if len(ids) > backend.context_length:
        raise ContextTooLong(
            f"This model's maximum context length is {backend.context_length} tokens. However, your {param}"
            f" has {len(ids)} tokens. Please reduce its length.",
            param=param,
        )
    return ids


async def _embed(backend: Backend, prompts: Sequence[TokenIds], receipt: Receipt) -> list[Floats]:
    """One vector for each prompt; ``receipt`` is charged as they are begun. Raises ServiceError."""
    vectors: list[Floats] = []
    for first in range(0, len(prompts), AT_ONCE):
        requests = [
            GenerationRequest(
                f"{receipt.request_id}-{index}",
                prompts[index],
                owner=receipt.caller.owner,
                pooling=backend.pooling,
                priority=receipt.caller.priority,
            )
            for index in range(first, min(first + AT_ONCE, len(prompts)))
        ]
        vectors += await _embed_together(backend, requests, receipt)
    return vectors


async def _embed_together(
    backend: Backend, requests: Sequence[GenerationRequest], receipt: Receipt
) -> list[Floats]:
    try:
        generation = backend.generate(requests)
    except EngineError as error:
        raise from_engine(error, "input") from error
    receipt.prompt_tokens += sum(len(request.prompt_ids) for request in requests)
    vectors: dict[str, Floats] = {}
    try:
        while len(vectors) < len(requests):
            output = await generation.next()
            if output.embedding is None:
                raise GenerationFailed(output.error or "The server is stopping.")
            vectors[output.request_id] = output.embedding
    finally:
        for request_id in generation.open():
            backend.abort(request_id)
        times = generation.times
        receipt.times = times if receipt.times is None else receipt.times + times
    return [vectors[request.request_id] for request in requests]


def _render(asked: EmbeddingsRequest, model: str, vectors: Sequence[Floats], tokens: int) -> bytes:
    """Vector by vector, in a thread: a million numbers at once would keep everybody waiting for a second."""
    items = (
        json.dumps({"object": "embedding", "index": index, "embedding": _written(vector, asked)})
        for index, vector in enumerate(vectors)
    )
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    tail = json.dumps({"model": model, "usage": usage})
    return f'{{"object": "list", "data": [{", ".join(items)}], {tail[1:]}'.encode()


def _written(vector: Floats, asked: EmbeddingsRequest) -> list[float] | str:
    if asked.dimensions is not None:
        vector = vector[: asked.dimensions]
        vector = vector / max(np.linalg.norm(vector), np.finfo(np.float32).tiny)
    if asked.in_base64:
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    numbers: list[float] = vector.tolist()
    return numbers
