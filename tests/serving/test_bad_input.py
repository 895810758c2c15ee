"""Whatever is sent, the answer is an error in OpenAI's shape that names the field, and nothing breaks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.server import Server
from tests.serving.records import find_records, wait_for_record

GOOD = {"model": "open-autoglm-7b", "prompt": "hi", "max_tokens": 1}
HUNDRED_MB = 100_000_000


@pytest.fixture(scope="module")
def own_key(server: Server) -> str:
    return server.create_key("bad-input@example.com")


def send(
    server: Server,
    key: str,
    data: bytes | str | Iterator[bytes],
    content_type: str = "application/json",
    path: str = "/v1/completions",
) -> requests.Response:
    headers = {"Authorization": f"Bearer {key}", "Content-Type": content_type}
    return requests.post(server.url + path, data=data, headers=headers, timeout=60)


def check_shape(response: requests.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["x-request-id"].startswith("req-")
    assert set(response.json()) == {"error"}
    error: dict[str, Any] = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    return error


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"model": ', "invalid_json"),
        (b"", "invalid_json"),
        (b'{"model": "\xff"}', "invalid_utf8"),
        (b'{"temperature": NaN}', "invalid_json"),
        (b"[" * 100_000, None),
        (b"[]", None),
    ],
)
def test_a_body_that_is_no_request_is_400_and_recorded(
    server: Server, own_key: str, body: bytes, code: str | None
) -> None:
    response = send(server, own_key, body)
    assert check_shape(response, 400)["code"] == code
    assert wait_for_record(server, response.headers["x-request-id"])["status"] == 400


@pytest.mark.parametrize(
    ("change", "status", "param", "code"),
    [
        ({"model": "nope"}, 404, "model", "model_not_found"),
        ({"model": 5}, 400, "model", None),
        ({"prompt": None}, 400, "prompt", "missing_required_parameter"),
        ({"prompt": ""}, 400, "prompt", None),
        ({"prompt": [1, 10**6]}, 400, "prompt", None),
        ({"prompt": "a " * 9000}, 400, "prompt", "context_length_exceeded"),
        ({"prompt": "a " * 10**6}, 400, "prompt", "context_length_exceeded"),
        ({"max_tokens": -1}, 400, "max_tokens", None),
        ({"max_tokens": 10**6}, 400, "max_tokens", "context_length_exceeded"),
        ({"max_tokens": 10**30}, 400, "max_tokens", None),
        ({"temperature": "hot"}, 400, "temperature", None),
        ({"temperature": 10**400}, 400, "temperature", None),
        ({"top_p": float("-1e-300")}, 400, "top_p", None),
        ({"stream": "yes"}, 400, "stream", None),
        ({"temprature": 1}, 400, "temprature", "unknown_parameter"),
        ({"suffix": "x"}, 400, "suffix", "unsupported_parameter"),
    ],
)
def test_a_wrong_field_is_named_and_recorded(
    server: Server,
    own_key: str,
    change: dict[str, Any],
    status: int,
    param: str,
    code: str | None,
) -> None:
    response = send(server, own_key, json.dumps({**GOOD, **change}))
    error = check_shape(response, status)
    assert (error["param"], error["code"]) == (param, code)
    assert wait_for_record(server, response.headers["x-request-id"])["status"] == status


@pytest.mark.parametrize("body", [{"model": "x" * 10**6}, {"x" * 10**6: 1}, {"max_tokens": int("1" * 4000)}])
def test_an_answer_does_not_send_megabytes_back(server: Server, own_key: str, body: dict[str, Any]) -> None:
    response = send(server, own_key, json.dumps({**GOOD, **body}))
    assert check_shape(response, 404 if "model" in body else 400)["param"]
    assert len(response.content) < 5000


def test_a_context_that_is_too_long_is_told_in_numbers(server: Server, own_key: str) -> None:
    error = check_shape(send(server, own_key, json.dumps({**GOOD, "max_tokens": 9000})), 400)
    assert "8192" in error["message"]
    assert "9001" in error["message"]


def test_a_chunked_body_is_read(server: Server, own_key: str) -> None:
    assert send(server, own_key, iter([json.dumps(GOOD).encode()])).status_code == 200


def test_a_body_of_100_mb_gets_its_answer(server: Server, own_key: str) -> None:
    response = send(server, own_key, b"x" * HUNDRED_MB)
    assert check_shape(response, 413)["code"] == "request_too_large"


def test_a_chunked_body_of_100_mb_gets_its_answer(server: Server, own_key: str) -> None:
    chunk = b"x" * 1_000_000
    response = send(server, own_key, (chunk for _ in range(100)))
    assert check_shape(response, 413)["code"] == "request_too_large"


def test_pages_do_not_take_100_mb_either(server: Server) -> None:
    response = requests.post(f"{server.url}/accounts/login/", data=b"x" * HUNDRED_MB, timeout=60)
    assert response.status_code == 413


@pytest.mark.parametrize(
    "content_type",
    [
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "multipart/form-data; boundary=x",
        "text/plain",
        "",
    ],
)
def test_a_body_that_is_not_json_is_415(server: Server, own_key: str, content_type: str) -> None:
    assert check_shape(send(server, own_key, b"{}", content_type), 415)["code"] == "unsupported_media_type"


def test_the_content_type_may_name_a_charset(server: Server, own_key: str) -> None:
    response = send(server, own_key, json.dumps(GOOD), "application/json; charset=utf-8")
    assert response.status_code == 200


@pytest.mark.parametrize("path", ["/v1", "/v1/", "/v1/nope", "/v1/%ff", "/v1/completions/", "/v1/é"])
def test_an_unknown_address_under_v1_is_404(server: Server, path: str) -> None:
    check_shape(requests.get(server.url + path, timeout=10), 404)


@pytest.mark.parametrize("kind", ["models", "files", "batches", "responses"])
def test_what_has_a_nul_in_its_name_is_404_whatever_the_database(
    server: Server, api_key: str, kind: str
) -> None:
    headers = {"Authorization": f"Bearer {api_key}"}
    check_shape(requests.get(f"{server.url}/v1/{kind}/%00", headers=headers, timeout=10), 404)


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("batches", {"endpoint": "/v1/embeddings", "completion_window": "24h"}, "input_file_id"),
        ("responses", {"model": "open-autoglm-7b", "input": "Hi"}, "previous_response_id"),
    ],
)
def test_an_id_with_a_nul_is_refused_whatever_the_database(
    server: Server, api_key: str, path: str, body: dict[str, str], param: str
) -> None:
    headers = {"Authorization": f"Bearer {api_key}"}
    answer = requests.post(
        f"{server.url}/v1/{path}", json={**body, param: "a\0"}, headers=headers, timeout=10
    )
    assert check_shape(answer, 400)["param"] == param


def test_a_response_to_a_text_with_a_nul_is_kept_whatever_the_database(server: Server, api_key: str) -> None:
    headers = {"Authorization": f"Bearer {api_key}"}
    body = {"model": "open-autoglm-7b", "input": "a\0b", "instructions": "c\0", "max_output_tokens": 2}
    answer = requests.post(f"{server.url}/v1/responses", json=body, headers=headers, timeout=30)
    assert answer.status_code == 200
    kept = requests.get(f"{server.url}/v1/responses/{answer.json()['id']}", headers=headers, timeout=10)
    assert kept.status_code == 200


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_another_method_is_405(server: Server, api_key: str, method: str) -> None:
    headers = {"Authorization": f"Bearer {api_key}"}
    response = requests.request(method, f"{server.url}/v1/completions", headers=headers, timeout=10)
    check_shape(response, 405)
    assert response.headers["Allow"] == "POST"


@pytest.mark.parametrize("accept", ["text/html", "text/event-stream", "image/png", "nonsense"])
def test_any_accept_header_gets_json(server: Server, api_key: str, accept: str) -> None:
    headers = {"Authorization": f"Bearer {api_key}", "Accept": accept}
    response = requests.get(f"{server.url}/v1/models", headers=headers, timeout=10)
    assert response.headers["Content-Type"] == "application/json"
    assert response.status_code == 200


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer x", "Basic eDp5", "Bearer \u00e9"])
def test_no_usable_key_is_401_and_not_recorded(server: Server, authorization: str | None) -> None:
    headers = {} if authorization is None else {"Authorization": authorization.encode()}
    response = requests.post(f"{server.url}/v1/completions", json=GOOD, headers=headers, timeout=10)
    assert check_shape(response, 401)["code"] == "invalid_api_key"
    assert find_records(server, response.headers["x-request-id"]) == []
