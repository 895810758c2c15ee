"""Streams are byte-exact: their pieces are the plain answer, whatever characters and stops span tokens.
/v1/messages and /v1/responses have the same test in their own rooms."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from tests.server import Server

MODEL = "open-autoglm-7b"
LONG: Any = {"max_tokens": 50, "extra_body": {"ignore_eos": True}}
WILD = "写一首诗，带很多表情：春天🌸👩‍👩‍👧"


@pytest.fixture(scope="module")
def client(server: Server, api_key: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=api_key, max_retries=0, timeout=60)


def completion(client: openai.OpenAI, **asked: Any) -> tuple[str, str]:
    """The text and its finish reason, plain or put together from a stream."""
    answer = client.completions.create(model=MODEL, prompt=WILD, **LONG, **asked)
    if not asked.get("stream"):
        return answer.choices[0].text, answer.choices[0].finish_reason
    chunks = [chunk.choices[0] for chunk in answer]
    return "".join(chunk.text for chunk in chunks), chunks[-1].finish_reason


def chat(client: openai.OpenAI, **asked: Any) -> tuple[str, str]:
    messages: Any = [{"role": "user", "content": WILD}]
    answer = client.chat.completions.create(model=MODEL, messages=messages, **LONG, **asked)
    if not asked.get("stream"):
        return answer.choices[0].message.content or "", answer.choices[0].finish_reason
    chunks = [chunk.choices[0] for chunk in answer]
    return "".join(chunk.delta.content or "" for chunk in chunks), chunks[-1].finish_reason or ""


@pytest.mark.parametrize("ask", [completion, chat])
@pytest.mark.parametrize("seed", range(4))
def test_the_pieces_are_the_plain_answer_with_and_without_stop_strings(
    client: openai.OpenAI, ask: Any, seed: int
) -> None:
    text, reason = ask(client, seed=seed)
    assert ask(client, seed=seed, stream=True) == (text, reason)
    third = len(text) // 3
    for length in (1, 2, 7):
        stop = text[third : third + length]
        cut = ask(client, seed=seed, stop=["\N{SNOWMAN}\N{SNOWMAN}", stop])
        assert cut == (text[: text.index(stop)], "stop")
        assert ask(client, seed=seed, stop=["\N{SNOWMAN}\N{SNOWMAN}", stop], stream=True) == cut
