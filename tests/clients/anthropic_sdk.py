"""What tests that ask through the `anthropic` package share."""

from __future__ import annotations

from typing import Any

import anthropic
import pytest

from tests.server import Server

MODEL = "open-autoglm-7b"
HELLO: Any = [{"role": "user", "content": "Say hello."}]
ASKED: Any = {"model": MODEL, "messages": HELLO, "max_tokens": 30, "extra_body": {"temperature": 0}}


@pytest.fixture(scope="module")
def client(server: Server, api_key: str) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=server.url, api_key=api_key, max_retries=0, timeout=60)


def text_of(message: anthropic.types.Message) -> str:
    (block,) = message.content
    assert block.type == "text"
    return block.text
