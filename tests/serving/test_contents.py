"""What is said is kept, sealed, where a project asks for it, and nowhere else."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import requests

from tests.database import read
from tests.server import Server
from tests.serving.records import wait_for_record

MODEL = "open-autoglm-7b"
SECRET = "a word that nobody else says"

KEEP = """
from apikeys.models import ApiKey
project = ApiKey.objects.get(prefix={prefix!r}).project
project.keeps_content = True
project.save()
"""
UNSEAL = """
import json
from apikeys.contents import unseal
from apikeys.models import RequestContent
content = unseal(RequestContent.objects.get(request_id={request_id!r}).sealed)
print(json.dumps([content.asked, content.answered]))
"""


def ask(server: Server, key: str, path: str, body: dict[str, Any]) -> tuple[str, str]:
    """The request's id and its answer, once it is booked."""
    answer = requests.post(
        server.url + path,
        json={"model": MODEL, "max_tokens": 8, "temperature": 0, **body},
        headers={"Authorization": f"Bearer {key}"},
        timeout=60,
    )
    wait_for_record(server, answer.headers["x-request-id"])
    return answer.headers["x-request-id"], answer.text


def test_a_project_that_asks_for_it_keeps_what_is_said(server: Server, new_key: Callable[[], str]) -> None:
    key = new_key()
    server.shell(KEEP.format(prefix=key[:12]))
    messages = [{"role": "user", "content": SECRET}]
    chat, body = ask(server, key, "/v1/chat/completions", {"messages": messages})
    [[asked, answered]] = [json.loads(server.shell(UNSEAL.format(request_id=chat)))]
    assert asked == messages
    assert answered == [json.loads(body)["choices"][0]["message"]["content"]]
    stream, _ = ask(server, key, "/v1/completions", {"prompt": [SECRET, "Hi"], "stream": True})
    sealed = read(server.environment, "SELECT * FROM apikeys_requestcontent WHERE request_id = ?", stream)
    assert len(sealed) == 1
    assert SECRET not in str(sealed)


def test_others_keep_nothing(server: Server, new_key: Callable[[], str]) -> None:
    request_id, _ = ask(server, new_key(), "/v1/completions", {"prompt": SECRET})
    query = "SELECT * FROM apikeys_requestcontent WHERE request_id = ?"
    assert read(server.environment, query, request_id) == []
