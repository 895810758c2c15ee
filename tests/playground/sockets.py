"""A person with a session, and the websocket of their playground."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests
from websockets.sync.client import ClientConnection, connect

from tests.server import Server

PASSWORD = "correct horse battery"
PATIENCE = 60.0  # seconds for one frame, on a busy machine
MODEL = "open-autoglm-7b"
ENDLESS: dict[str, Any] = {"ignore_eos": True, "max_tokens": 4000}  # a reply that outlasts the test


class Person:
    """Signs in through the real form."""

    def __init__(self, server: Server, email: str) -> None:
        server.create_user(email, PASSWORD)
        self.server = server
        self.http = requests.Session()
        self.post("/accounts/login/", {"login": email, "password": PASSWORD})

    def post(self, path: str, fields: dict[str, str]) -> None:
        """Sends the form of the page at ``path``."""
        page = self.http.get(self.server.url + path, timeout=30).text
        found = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)
        assert found, page
        answer = self.http.post(
            self.server.url + path,
            data={**fields, "csrfmiddlewaretoken": found[1]},
            headers={"Referer": self.server.url + path},
            timeout=30,
        )
        assert answer.ok, answer.text

    @contextmanager
    def socket(self, language: str = "en") -> Iterator[Socket]:
        cookie = f"sessionid={self.http.cookies.get('sessionid', '')}"
        headers = {"Cookie": cookie, "Origin": self.server.url, "Accept-Language": language}
        with connect(self.server.ws_url + "/ws/playground/", additional_headers=headers) as connection:
            yield Socket(connection)


class Socket:
    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    def send(self, frame: dict[str, Any]) -> None:
        self.connection.send(json.dumps(frame))

    def chat(self, prompt: str, id: str = "1", **body: Any) -> None:
        messages = [{"role": "user", "content": prompt}]
        self.send({"type": "chat", "id": id, "request": {"model": MODEL, "messages": messages, **body}})

    def receive(self) -> dict[str, Any]:
        """The next frame that is not about models."""
        while True:
            frame: dict[str, Any] = json.loads(self.connection.recv(PATIENCE))
            if frame["type"] != "models":
                return frame

    def until(self, kind: str) -> list[dict[str, Any]]:
        """All frames up to and with the first one of type ``kind``."""
        frames = [self.receive()]
        while frames[-1]["type"] != kind:
            assert frames[-1]["type"] != "error", frames[-1]
            frames.append(self.receive())
        return frames


def text_of(frames: list[dict[str, Any]]) -> str:
    return "".join(frame["text"] for frame in frames if frame["type"] == "delta")


def record_of(server: Server, request_id: str) -> dict[str, Any]:
    """The usage record of a request, waited for: it is written by a thread."""
    code = f"""
import json, time
from apikeys.models import UsageRecord
for _ in range(100):
    rows = list(UsageRecord.objects.filter(request_id={request_id!r}).values())
    if rows:
        break
    time.sleep(0.1)
[row] = rows
print(json.dumps(row, default=str))
"""
    record: dict[str, Any] = json.loads(server.shell(code))
    return record
