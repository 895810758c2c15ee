"""The signature of a batch's line opens one request and nothing else."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
import requests
from pytest_django import Settings

from apikeys import keys, line_calls
from apikeys.errors import InvalidApiKey
from apikeys.line_calls import LineCall, is_line_call
from tests.server import Server
from tests.serving.records import find_records, wait_for_record

BODY = b'{"model": "open-autoglm-7b", "prompt": "Hi", "max_tokens": 1}'
PATH = "/v1/completions"


@pytest.fixture
def call(server: Server, settings: Settings, api_key: str) -> LineCall:
    """Signed as the server would."""
    settings.SECRET_KEY = (server.data_dir / "secret_key").read_text()
    prefix = api_key[: keys.PREFIX_LENGTH]
    return LineCall(prefix, keys.digest(api_key), "req-line-1", PATH, BODY)


def post(server: Server, authorization: str, path: str = PATH, body: bytes = BODY) -> requests.Response:
    headers = {"Authorization": authorization, "Content-Type": "application/json"}
    return requests.post(server.url + path, data=body, headers=headers, timeout=60)


def test_it_opens_its_request_which_is_recorded_once_however_often_it_comes(
    server: Server, call: LineCall
) -> None:
    answers = [post(server, call.sign()) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert {answer.headers["x-request-id"] for answer in answers} == {"req-line-1"}
    assert "x-ratelimit-limit-requests" not in answers[0].headers, "it takes no place in the bucket"
    record = wait_for_record(server, "req-line-1")
    assert (record["source"], record["completion_tokens"]) == ("batch", 1)
    assert len(find_records(server, "req-line-1")) == 1


def test_it_opens_nothing_else(server: Server, call: LineCall, settings: Settings) -> None:
    signature = call.sign()
    others = [
        post(server, signature, body=BODY.replace(b"Hi", b"Ho")),
        post(server, signature, path="/v1/chat/completions"),
        requests.get(f"{server.url}/v1/models", headers={"Authorization": signature}, timeout=60),
        requests.get(f"{server.url}/v1/files", headers={"Authorization": signature}, timeout=60),
        post(server, signature[:-1] + ("A" if signature[-1] != "A" else "B")),
        post(server, replace(call, hash="0" * 64).sign()),
        post(server, "Batch "),
    ]
    settings.SECRET_KEY = "another"
    others.append(post(server, call.sign()))
    assert [(one.status_code, one.json()["error"]["code"]) for one in others] == [
        (401, "invalid_api_key")
    ] * len(others)


def test_it_is_good_for_a_minute(call: LineCall, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as past:
        past.setattr(time, "time", lambda: 1_000_000_000)
        old = call.sign()
    assert is_line_call(old)
    assert LineCall.request_id_in(old) is None
    with pytest.raises(InvalidApiKey):
        LineCall.read(old, PATH, BODY)
    assert line_calls.MAX_AGE == 60


def test_it_opens_nothing_once_the_key_is_revoked(server: Server, call: LineCall) -> None:
    key = server.create_key("revoked@example.com")
    call = replace(call, prefix=key[: keys.PREFIX_LENGTH], hash=keys.digest(key), request_id="req-line-2")
    assert post(server, call.sign()).status_code == 200
    server.shell(
        "from apikeys import keys; from apikeys.models import ApiKey;"
        f"keys.revoke(ApiKey.objects.get(prefix={call.prefix!r}))"
    )
    for _ in range(30):
        if (answer := post(server, call.sign())).status_code == 401:
            break
    assert "revoked" in answer.json()["error"]["message"]
