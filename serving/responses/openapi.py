"""What the OpenAPI schema says about /v1/responses."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiResponse, extend_schema

from serving.errors import NotFound
from serving.openapi import INTEGER, STRING, describes, example, json_array, json_object, refusals
from serving.responses.schemas import RESPONSE_FIELDS

PART = json_object({"type": {"type": "string", "enum": ["output_text"]}, "text": STRING})
STATUS = {"type": "string", "enum": ["completed", "incomplete"]}
MESSAGE_ITEM = json_object(
    {
        "id": STRING,
        "type": {"type": "string", "enum": ["message"]},
        "role": {"type": "string", "enum": ["assistant"]},
        "status": STATUS,
        "content": json_array(PART),
    }
)
CALL_ITEM = json_object(
    {
        "id": STRING,
        "type": {"type": "string", "enum": ["function_call"]},
        "status": STATUS,
        "call_id": STRING,
        "name": STRING,
        "arguments": STRING,
    }
)
RESPONSE = json_object(
    {
        "id": STRING,
        "object": {"type": "string", "enum": ["response"]},
        "created_at": INTEGER,
        "model": STRING,
        "status": STATUS,
        "output": json_array({"oneOf": [MESSAGE_ITEM, CALL_ITEM]}),
        "usage": json_object({"input_tokens": INTEGER, "output_tokens": INTEGER, "total_tokens": INTEGER}),
    }
)
DELETED = json_object({"id": STRING, "object": STRING, "deleted": {"type": "boolean"}})
TEXT = {"type": "output_text", "text": "Hello! How can I help?"}
MESSAGE = {"id": "msg_4f6c", "type": "message", "role": "assistant", "status": "completed", "content": [TEXT]}

describes_responses = describes(
    "Answer, and remember",
    "OpenAI's newer endpoint. `previous_response_id` goes on with a conversation that the server has kept.",
    RESPONSE_FIELDS,
    RESPONSE,
    example(
        {"model": "open-autoglm-7b", "input": "Say hello.", "max_output_tokens": 100},
        {
            "id": "resp_4f6c",
            "object": "response",
            "created_at": 1763800000,
            "model": "smollm2-135m-instruct",
            "status": "completed",
            "output": [MESSAGE],
            "usage": {"input_tokens": 33, "output_tokens": 8, "total_tokens": 41},
        },
    ),
    "events from `response.created` to `response.completed` or `response.incomplete`.",
)
_NO_RESPONSE = NotFound("Response with id 'resp_4f6c' not found.", param="response_id")
describes_response = extend_schema(
    operation_id="get_response",
    summary="A response that was kept",
    description="For 30 days, for whoever asked for it.",
    responses={200: OpenApiResponse(RESPONSE), **refusals(_NO_RESPONSE)},
    tags=["Text"],
)
describes_deletion = extend_schema(
    operation_id="delete_response",
    summary="Forget a response",
    description="It can then neither be read nor gone on with.",
    responses={200: OpenApiResponse(DELETED), **refusals(_NO_RESPONSE)},
    tags=["Text"],
)
