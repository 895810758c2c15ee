"""Anthropic's endpoints as programs see them: the `anthropic` package on a real server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anthropic
import pytest
import requests

from tests.clients.anthropic_sdk import ASKED, HELLO, MODEL, text_of
from tests.clients.anthropic_sdk import client as client
from tests.server import Server
from tests.serving.records import wait_for_record

WILD: Any = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "用中文写一首关于春天🌸的诗"}],
    "max_tokens": 80,
}


def post(server: Server, key: str, path: str = "/v1/messages", **body: Any) -> requests.Response:
    asked = {"model": MODEL, "messages": HELLO, **body}
    return requests.post(server.url + path, json=asked, headers={"x-api-key": key}, timeout=60)


def test_a_message_is_answered(client: anthropic.Anthropic) -> None:
    message = client.messages.create(**ASKED)
    assert "ello" in text_of(message)
    assert (message.type, message.role) == ("message", "assistant")
    assert message.id.startswith("msg_")
    assert (message.stop_reason, message.stop_sequence) == ("end_turn", None)
    assert message.usage.input_tokens > 0
    assert 0 < message.usage.output_tokens <= 30
    assert message._request_id
    assert message._request_id.startswith("req-")


@pytest.mark.parametrize("stop", [[], ["的"], ["。\n", "zzz"]])
def test_the_pieces_of_a_stream_are_the_plain_answer(
    client: anthropic.Anthropic, seed_of: Callable[[int], Any], stop: list[str]
) -> None:
    for seed in range(4):
        asked = {**WILD, "stop_sequences": stop, "extra_body": seed_of(seed)}
        plain = client.messages.create(**asked)
        with client.messages.stream(**asked) as stream:
            pieces = list(stream.text_stream)
            final = stream.get_final_message()
        assert "".join(pieces) == text_of(plain) == text_of(final)
        assert (final.stop_reason, final.stop_sequence) == (plain.stop_reason, plain.stop_sequence)
        assert final.usage.output_tokens == plain.usage.output_tokens
        assert final.usage.input_tokens == plain.usage.input_tokens


@pytest.fixture
def seed_of() -> Callable[[int], Any]:
    return lambda seed: {"seed": seed, "temperature": 1.0}


def test_a_stop_sequence_that_spans_tokens_is_named_and_not_in_the_text(client: anthropic.Anthropic) -> None:
    text = text_of(client.messages.create(**ASKED))
    stop = text[3:9]
    message = client.messages.create(**ASKED, stop_sequences=["never", stop])
    assert text_of(message) == text[: text.index(stop)]
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", stop)


def test_too_few_tokens_end_it_with_max_tokens(client: anthropic.Anthropic) -> None:
    message = client.messages.create(**{**ASKED, "max_tokens": 2})
    assert message.stop_reason == "max_tokens"
    assert message.usage.output_tokens == 2


def test_the_events_come_in_anthropics_order(server: Server, api_key: str) -> None:
    response = post(server, api_key, max_tokens=4, stream=True)
    names = [line.removeprefix("event: ") for line in response.text.splitlines() if line.startswith("event")]
    once = list(dict.fromkeys(names))
    assert once == [
        "message_start",
        "content_block_start",
        "ping",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert response.headers["Content-Type"] == "text/event-stream"


def test_system_and_turns_reach_the_model(server: Server, api_key: str) -> None:
    def count(path: str, **body: Any) -> Any:
        return post(server, api_key, path, **body).json()

    system = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]
    turns = [{"role": "user", "content": "a"}, {"role": "user", "content": [{"type": "text", "text": "b"}]}]
    ours = count("/v1/messages/count_tokens", system=system, messages=turns)["input_tokens"]
    same = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "a\n\nb"}]
    assert count("/v1/tokenize", messages=same)["count"] == ours


def test_an_answer_can_be_begun_for_the_model(client: anthropic.Anthropic) -> None:
    begun = [*HELLO, {"role": "assistant", "content": "One, two, three,"}]
    message = client.messages.create(**{**ASKED, "messages": begun, "max_tokens": 3})
    assert "four" in text_of(message)


def test_the_count_is_what_is_charged(client: anthropic.Anthropic) -> None:
    count = client.messages.count_tokens(model=MODEL, messages=HELLO, system="Be brief.")
    message = client.messages.create(**ASKED, system="Be brief.")
    assert count.input_tokens == message.usage.input_tokens


def test_a_message_is_recorded_with_its_tokens(server: Server, api_key: str) -> None:
    response = post(server, api_key, max_tokens=5)
    record = wait_for_record(server, response.headers["request-id"])
    assert (record["endpoint"], record["status"]) == ("/v1/messages", 200)
    usage = response.json()["usage"]
    assert (record["prompt_tokens"], record["completion_tokens"]) == tuple(usage.values())


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"temperature": 1.5}, "temperature"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "system", "content": "a"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "messages[0].content[0].type"),
        ({"stop_sequences": ["a", " "]}, "stop_sequences"),
        ({"tools": [{"name": "f"}]}, "tools"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "thinking"),
        ({"n": 2}, "n"),
    ],
)
def test_a_wrong_field_is_named_in_anthropics_shape(
    server: Server, api_key: str, change: Any, named: str
) -> None:
    response = post(server, api_key, **{"max_tokens": 5, **change})
    assert response.status_code == 400
    body = response.json()
    assert set(body) == {"type", "error"}
    assert (body["type"], body["error"]["type"]) == ("error", "invalid_request_error")
    assert named in body["error"]["message"]


def test_every_kind_of_refusal_has_anthropics_shape(server: Server, api_key: str) -> None:
    url, headers = f"{server.url}/v1/messages", {"x-api-key": api_key}
    refusals = {
        "authentication_error": requests.post(url, json={}),
        "not_found_error": requests.post(f"{url}/nothing", json={}, headers=headers),
        "invalid_request_error": requests.get(url, headers=headers),
        "request_too_large": requests.post(url, data=b" " * 20_000_000, headers=headers),
    }
    assert {kind: answer.json()["error"]["type"] for kind, answer in refusals.items()} == {
        kind: kind for kind in refusals
    }
    assert all(answer.headers["x-request-id"] for answer in refusals.values())
