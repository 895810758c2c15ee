"""A line is asked for until there is an answer, or nobody wants it any more."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from pytest_django import Settings

from apikeys.line_calls import LineCall
from apikeys.models import ApiKey
from serving.batches import sender
from serving.batches.jsonl import InputLine
from serving.batches.models import Batch
from serving.batches.sender import Sender

LINE = InputLine(3, "a", b'{"prompt": "Hi"}')
BATCH = Batch(id="batch_1", endpoint="/v1/completions", key=ApiKey(prefix="oag-12345678", hash="h" * 64))


class Site(ThreadingHTTPServer):
    """A site that gives its ``answers`` one after the other: status, body and headers. None: no answer."""

    answers: list[tuple[int, Any, dict[str, str]] | None]
    asked: list[tuple[str, bytes]]


class Handler(BaseHTTPRequestHandler):
    server: Site

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append((self.headers["Authorization"], body))
        answer = self.server.answers.pop(0)
        if answer is None:
            return
        status, told, headers = answer
        data = json.dumps(told).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        return


@pytest.fixture
def site(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(sender, "SHORTEST_PAUSE", 0.01)
    with Site(("127.0.0.1", 0), Handler) as server:
        server.asked = []
        settings.INTERNAL_URL = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def error(code: str) -> dict[str, Any]:
    return {"error": {"message": "", "type": "", "param": None, "code": code}}


def test_a_line_is_asked_again_under_its_own_id_until_there_is_an_answer(site: Site) -> None:
    site.answers = [
        None,
        (503, error("engine_overloaded"), {"retry-after-ms": "300"}),
        (429, error("rate_limit_exceeded"), {}),
        (500, error("generation_failed"), {}),
        (200, {"id": "cmpl-1"}, {}),
    ]
    began = time.monotonic()
    answer = Sender(BATCH).ask(LINE)
    assert answer
    assert (answer.number, answer.status, answer.body, answer.failed) == (3, 200, {"id": "cmpl-1"}, False)
    assert time.monotonic() - began >= 0.3
    calls = [LineCall.read(signature, "/v1/completions", body) for signature, body in site.asked]
    assert len(calls) == 5
    assert {(call.request_id, call.hash) for call in calls} == {("req-1-3", "h" * 64)}


@pytest.mark.parametrize(
    ("answers", "status"),
    [
        ([(400, error("unknown_parameter"), {})], 400),
        ([(429, error("insufficient_quota"), {})], 429),
        ([(500, error("generation_failed"), {})] * 3, 500),
    ],
)
def test_what_will_not_get_better_is_the_answer(site: Site, answers: list[Any], status: int) -> None:
    site.answers = list(answers)
    answer = Sender(BATCH).ask(LINE)
    assert answer
    assert (answer.status, answer.failed, site.answers) == (status, True, [])


def test_stopping_ends_what_waits_for_an_answer(settings: Settings) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as silent:  # it takes connections, and reads nothing
        settings.INTERNAL_URL = f"http://127.0.0.1:{silent.server_port}"
        asking = Sender(BATCH)
        answers: list[object] = []
        thread = threading.Thread(target=lambda: answers.append(asking.ask(LINE)))
        thread.start()
        while not asking._connections:
            time.sleep(0.01)
        asking.stop()
        thread.join(5)
    assert answers == [None]


def test_stopping_ends_what_waits_for_a_site_that_is_away(settings: Settings) -> None:
    settings.INTERNAL_URL = "http://127.0.0.1:9"
    asking = Sender(BATCH)
    threading.Timer(0.2, asking.stop).start()
    assert asking.ask(LINE) is None
