"""What the OpenAPI schema says about Anthropic's endpoints."""

from __future__ import annotations

from typing import Any

from serving.anthropic.schemas import COUNT_FIELDS, MESSAGES_FIELDS
from serving.openapi import (
    INTEGER,
    NULLABLE_STRING,
    STRING,
    describes,
    example,
    json_array,
    json_object,
)


def _only(*values: str) -> dict[str, Any]:
    return {"type": "string", "enum": list(values)}


MESSAGE = json_object(
    {
        "id": STRING,
        "type": _only("message"),
        "role": _only("assistant"),
        "model": STRING,
        "content": json_array(json_object({"type": _only("text"), "text": STRING})),
        "stop_reason": _only("end_turn", "max_tokens", "stop_sequence"),
        "stop_sequence": NULLABLE_STRING,
        "usage": json_object({"input_tokens": INTEGER, "output_tokens": INTEGER}),
    }
)
COUNT = json_object({"input_tokens": INTEGER})
ASKED = {"model": "open-autoglm-7b", "messages": [{"role": "user", "content": "Say hello."}]}

describes_messages = describes(
    "Answer in a conversation (Anthropic's)",
    "For clients written for Anthropic's API; the key goes in `x-api-key` or as a bearer.",
    MESSAGES_FIELDS,
    MESSAGE,
    example(
        {**ASKED, "max_tokens": 100},
        {
            "id": "msg_4f6c1d0e8b9a4c7d9e2f3a5b6c7d8e9f",
            "type": "message",
            "role": "assistant",
            "model": "smollm2-135m-instruct",
            "content": [{"type": "text", "text": "Hello! How can I help?"}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": 11, "output_tokens": 8},
        },
    ),
    "events from `message_start` to `message_stop`.",
    anthropic=True,
)
describes_count_tokens = describes(
    "Count a conversation's tokens (Anthropic's)",
    "Exactly what /v1/messages would charge for the same messages.",
    COUNT_FIELDS,
    COUNT,
    example(ASKED, {"input_tokens": 33}),
    anthropic=True,
)
