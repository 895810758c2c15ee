"""The playground's websocket, spoken to as a browser does."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
import requests
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from tests.playground.sockets import ENDLESS, MODEL, Person, record_of, text_of
from tests.server import Server

TOOL = {"type": "function", "function": {"name": "f"}}


@pytest.fixture(scope="module")
def person(server: Server) -> Person:
    return Person(server, "socket@example.com")


def test_a_stranger_is_told_to_sign_in(server: Server) -> None:
    with (
        connect(server.ws_url + "/ws/playground/", origin=Origin(server.url)) as connection,
        pytest.raises(ConnectionClosed) as closed,
    ):
        connection.recv(30)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4401


def test_an_address_without_a_socket_refuses_one(server: Server) -> None:
    with (
        pytest.raises(InvalidStatus) as refused,
        connect(server.ws_url + "/ws/nothing/", origin=Origin(server.url)),
    ):
        pass
    assert refused.value.response.status_code == 403


def test_a_flood_of_frames_ends_the_socket(server: Server) -> None:
    with Person(server, "flood@example.com").socket() as socket:
        for _ in range(300):
            socket.connection.send("no frame")
        frames: list[str | bytes] = []
        with pytest.raises(ConnectionClosed):
            frames.extend(socket.connection)
        assert socket.connection.close_code == 4429
    codes = [json.loads(frame).get("error", {}).get("code") for frame in frames]
    assert codes[-1] == "rate_limit_exceeded"
    assert "invalid_json" in codes


def test_a_socket_first_hears_how_the_models_fare(person: Person) -> None:
    with person.socket() as socket:
        frame = socket.connection.recv(30)
    assert '"type": "models"' in str(frame)
    assert '"state": "ready"' in str(frame)


def test_a_reply_streams_and_is_recorded_with_the_counts_that_were_shown(person: Person) -> None:
    with person.socket() as socket:
        socket.chat("Count from one to ten.", max_tokens=24, temperature=0)
        started, *deltas, done = socket.until("done")
    assert started["type"] == "started"
    assert len(deltas) > 3
    assert text_of(deltas).strip()
    assert {frame["id"] for frame in (started, *deltas, done)} == {"1"}
    assert deltas[-1]["completion_tokens"] == done["usage"]["completion_tokens"]
    assert done["ttft_ms"] > 0
    assert done["tokens_per_second"] > 0
    record = record_of(person.server, started["request_id"])
    assert (record["source"], record["status"], record["stream"]) == ("playground", 200, True)
    assert record["key_id"] is None
    assert record["prompt_tokens"] == done["usage"]["prompt_tokens"]
    assert record["completion_tokens"] == done["usage"]["completion_tokens"]


def test_the_playground_and_the_api_give_the_same_text(person: Person, api_key: str) -> None:
    body: dict[str, Any] = {"max_tokens": 20, "temperature": 0}
    with person.socket() as socket:
        socket.chat("Tell me about rivers.", **body)
        shown = text_of(socket.until("done"))
    answer = requests.post(
        person.server.url + "/v1/chat/completions",
        headers={"Authorization": f"Bearer {api_key}"},
        json={"model": MODEL, "messages": [{"role": "user", "content": "Tell me about rivers."}], **body},
        timeout=60,
    )
    assert answer.json()["choices"][0]["message"]["content"] == shown


def test_stop_ends_a_reply_at_once_and_what_was_made_is_recorded(person: Person) -> None:
    with person.socket() as socket:
        socket.chat("Tell me a long story.", **ENDLESS)
        started = socket.receive()
        seen = [socket.receive() for _ in range(5)][-1]["completion_tokens"]
        socket.send({"type": "stop"})
        asked = time.monotonic()
        done = socket.until("done")[-1]
        waited = time.monotonic() - asked
        socket.chat("Hello!", id="2", max_tokens=4)
        assert socket.until("done")[-1]["id"] == "2"
    assert done["finish_reason"] == "cancelled"
    assert waited < 2
    assert seen <= done["usage"]["completion_tokens"] < ENDLESS["max_tokens"] / 2
    record = record_of(person.server, started["request_id"])
    assert record["completion_tokens"] == done["usage"]["completion_tokens"]


def test_stop_without_a_reply_is_no_error(person: Person) -> None:
    with person.socket() as socket:
        socket.send({"type": "stop"})
        socket.chat("Hello!", max_tokens=2)
        assert socket.until("done")[-1]["usage"]["completion_tokens"] <= 2


def test_hanging_up_ends_the_reply(person: Person) -> None:
    with person.socket() as socket:
        socket.chat("Tell me a long story.", **ENDLESS)
        started = socket.receive()
        socket.receive()
    record = record_of(person.server, started["request_id"])
    assert record["status"] == 499
    assert 0 < record["completion_tokens"] < ENDLESS["max_tokens"] / 2


def test_one_reply_at_a_time_on_a_socket(person: Person) -> None:
    with person.socket() as socket:
        socket.chat("Tell me a long story.", id="first", **ENDLESS)
        socket.receive()
        socket.chat("And another.", id="second")
        frame = next(frame for frame in iter(socket.receive, None) if frame["type"] == "error")
        assert frame["id"] == "second"
        assert frame["error"]["code"] == "reply_in_progress"
        socket.send({"type": "stop"})
        assert socket.until("done")[-1]["id"] == "first"


def chat_frame(**request: Any) -> str:
    return json.dumps({"type": "chat", "id": "a", "request": request})


HELLO = [{"role": "user", "content": "Hello!"}]
HALF_A_SURROGATE_PAIR = [{"role": "user", "content": "\ud800"}]

BAD_FRAMES: list[tuple[str | bytes, str | None, str | None]] = [
    ("{", None, "invalid_json"),
    ("", None, "invalid_json"),
    (b"\x00\x01", None, "invalid_frame"),
    ("[1, 2]", None, "invalid_frame"),
    ('{"type": NaN}', None, "invalid_json"),
    ("[" * 100_000, None, None),
    ("{}", "type", "invalid_frame"),
    ('{"type": 1}', "type", "invalid_frame"),
    ('{"type": "dance"}', "type", "invalid_frame"),
    ('{"type": "stop", "pad": "' + "x" * 300_000 + '"}', None, "frame_too_large"),
    ('{"type": "chat"}', "id", "invalid_frame"),
    ('{"type": "chat", "id": 1, "request": {}}', "id", "invalid_frame"),
    ('{"type": "chat", "id": "a", "request": []}', "request", "invalid_frame"),
    (chat_frame(), "model", "missing_required_parameter"),
    (chat_frame(model=MODEL, messages="hi"), "messages", None),
    (chat_frame(model=MODEL, messages=HALF_A_SURROGATE_PAIR), "messages[0].content", None),
    (chat_frame(model=MODEL, messages=HELLO * 1001), "messages", "frame_too_large"),
    (chat_frame(model=MODEL, messages=HELLO, n=2), "n", None),
    (chat_frame(model=MODEL, messages=HELLO, tools=[TOOL]), "tools", None),
    (chat_frame(model=MODEL, messages=HELLO, max_tokens=-1), "max_tokens", None),
    (chat_frame(model=MODEL, messages=HELLO, dance=1), "dance", "unknown_parameter"),
    (chat_frame(model="nobody", messages=HELLO), "model", "model_not_found"),
]


@pytest.mark.parametrize(("text", "param", "code"), BAD_FRAMES)
def test_a_bad_frame_is_answered_and_the_socket_stays_usable(
    person: Person, text: str | bytes, param: str | None, code: str | None
) -> None:
    with person.socket() as socket:
        socket.connection.send(text)
        frame = socket.receive()
        assert frame["type"] == "error"
        assert frame["error"]["type"] == "invalid_request_error"
        assert (frame["error"]["param"], frame["error"]["code"]) == (param, code)
        assert frame["error"]["message"]
        socket.chat("Hello!", id="after", max_tokens=1)
        assert socket.until("done")[-1]["id"] == "after"


def test_a_prompt_over_the_context_is_refused_by_its_length(person: Person) -> None:
    with person.socket() as socket:
        socket.chat("word " * 20_000)
        frame = socket.receive()
    assert frame["error"]["code"] == "context_length_exceeded"


def test_signing_out_ends_what_an_open_socket_may_do(server: Server) -> None:
    person = Person(server, "leaver@example.com")
    with person.socket() as socket:
        socket.chat("Hello!", max_tokens=1)
        socket.until("done")
        person.post("/accounts/logout/", {})
        socket.chat("Hello again!")
        with pytest.raises(ConnectionClosed) as closed:
            socket.receive()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4401
