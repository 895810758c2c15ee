"""What the OpenAPI schema says about /v1/chat/completions."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiExample

from serving.chat.schemas import CHAT_FIELDS
from serving.openapi import (
    HEAD,
    INTEGER,
    NOTHING,
    NULLABLE_STRING,
    STREAMED,
    STRING,
    describes,
    json_array,
    json_object,
    openai_answer,
)

CALL = json_object(
    {
        "id": STRING,
        "type": {"type": "string", "enum": ["function"]},
        "function": json_object({"name": STRING, "arguments": STRING}),
    }
)
CHAT_COMPLETION = openai_answer(
    "chat.completion",
    json_object(
        {
            "index": INTEGER,
            "message": json_object(
                {
                    "role": STRING,
                    "content": NULLABLE_STRING,
                    "refusal": NULLABLE_STRING,
                    "tool_calls": json_array(CALL),
                },
                ["role", "content", "refusal"],
            ),
            "logprobs": NOTHING,
            "finish_reason": {"type": "string", "enum": ["stop", "length", "tool_calls"]},
        }
    ),
)

CHAT_EXAMPLES = [
    OpenApiExample(
        "A chat",
        request_only=True,
        value={
            "model": "open-autoglm-7b",
            "messages": [{"role": "user", "content": "Say hello."}],
            "max_completion_tokens": 100,
        },
    ),
    OpenApiExample(
        "A tool that the model must call",
        request_only=True,
        value={
            "model": "open-autoglm-7b",
            "messages": [{"role": "user", "content": "What is the weather in Paris?"}],
            "tools": [
                {
                    "type": "function",
                    "function": {
                        "name": "get_weather",
                        "description": "Tells the weather of a city.",
                        "parameters": {
                            "type": "object",
                            "properties": {"city": {"type": "string"}},
                            "required": ["city"],
                            "additionalProperties": False,
                        },
                        "strict": True,
                    },
                }
            ],
            "tool_choice": "required",
        },
    ),
    OpenApiExample(
        "Its answer",
        response_only=True,
        status_codes=["200"],
        value={
            "id": "chatcmpl-4f6c1d0e8b9a4c7d9e2f3a5b6c7d8e9f",
            **HEAD,
            "object": "chat.completion",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": "Hello! How can I help?", "refusal": None},
                    "logprobs": None,
                    "finish_reason": "stop",
                }
            ],
            "usage": {"prompt_tokens": 11, "completion_tokens": 8, "total_tokens": 19},
        },
    ),
]

describes_chat_completions = describes(
    "Answer in a conversation",
    "The model's own chat template turns the messages into a prompt.",
    CHAT_FIELDS,
    CHAT_COMPLETION,
    CHAT_EXAMPLES,
    STREAMED,
)
