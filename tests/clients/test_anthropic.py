"""The `anthropic` package, as programs use it: what it does on top of the endpoints, with nothing mocked."""

from __future__ import annotations

import asyncio

import anthropic
import pytest

from tests.clients.anthropic_sdk import ASKED, text_of
from tests.clients.anthropic_sdk import client as client
from tests.server import Server


def test_a_message_and_its_stream_say_the_same(client: anthropic.Anthropic) -> None:
    plain = client.messages.create(**ASKED)
    with client.messages.stream(**ASKED) as stream:
        pieces = list(stream.text_stream)
        final = stream.get_final_message()
    assert "".join(pieces) == text_of(final) == text_of(plain)
    assert (final.stop_reason, final.usage) == (plain.stop_reason, plain.usage)


def test_the_low_level_events_are_typed(client: anthropic.Anthropic) -> None:
    events = list(client.messages.create(**ASKED, stream=True))
    assert events[0].type == "message_start"
    assert events[-1].type == "message_stop"


async def test_the_async_client_answers_and_streams_at_once(server: Server, api_key: str) -> None:
    async def stream(client: anthropic.AsyncAnthropic) -> str:
        async with client.messages.stream(**ASKED) as stream:
            return "".join([piece async for piece in stream.text_stream])

    async with anthropic.AsyncAnthropic(base_url=server.url, api_key=api_key, max_retries=0) as client:
        plain = text_of(await client.messages.create(**ASKED))
        assert await asyncio.gather(*(stream(client) for _ in range(4))) == [plain] * 4


def test_the_same_key_opens_it_as_a_bearer(server: Server, api_key: str) -> None:
    client = anthropic.Anthropic(base_url=server.url, auth_token=api_key, max_retries=0)
    assert text_of(client.messages.create(**ASKED))


def test_raw_responses_have_the_request_id(client: anthropic.Anthropic) -> None:
    raw = client.messages.with_raw_response.create(**ASKED)
    assert raw.headers["request-id"] == raw.headers["x-request-id"] == raw.parse()._request_id


def test_the_clients_own_exceptions_are_raised(server: Server, client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError, match="no-such-model"):
        client.messages.create(**{**ASKED, "model": "no-such-model"})
    stranger = anthropic.Anthropic(base_url=server.url, api_key="nonsense", max_retries=0)
    with pytest.raises(anthropic.AuthenticationError):
        stranger.messages.create(**ASKED)
