"""What only the server adds: its own branch for the API, bodies without a length, no session for pages."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
import requests

from tests.environment import REPOSITORY
from tests.server import Server

READ_AND_WRITE = "scopes=['manage:read', 'manage:write', 'inference', 'files']"


@pytest.fixture(scope="module")
def key(server: Server) -> str:
    """One that may manage."""
    return server.shell(
        "from apikeys import keys; from console.models import User;"
        f"print(keys.mint(User.objects.create_user('api@example.com'), 'api', {READ_AND_WRITE})[1])"
    ).splitlines()[-1]


def headers(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_every_error_is_json_with_a_request_id(server: Server, key: str) -> None:
    for method, path, status in (
        ("GET", "/api/v1/nothing", 404),
        ("GET", "/api/", 404),
        ("PUT", "/api/v1/keys", 405),
        ("GET", "/api/v1/keys?page=0", 400),
    ):
        answer = requests.request(method, server.url + path, headers=headers(key), timeout=30)
        assert answer.status_code == status, path
        assert set(answer.json()["error"]) >= {"message", "type", "param", "code"}
        assert answer.headers["x-request-id"].startswith("req-")
    assert requests.get(f"{server.url}/api/v1/me", timeout=30).status_code == 401


def test_a_body_may_come_in_pieces(server: Server, key: str) -> None:
    def pieces() -> Iterator[bytes]:
        yield b'{"name": '
        yield b'"pieces"}'

    answer = requests.post(
        f"{server.url}/api/v1/keys",
        data=pieces(),
        headers={**headers(key), "Content-Type": "application/json"},
        timeout=30,
    )
    assert (answer.status_code, answer.json()["name"]) == (201, "pieces")


def test_a_body_that_is_too_large_is_refused(server: Server, key: str) -> None:
    body = b'{"name": "' + b"x" * 9 * 1024 * 1024 + b'"}'
    answer = requests.post(f"{server.url}/api/v1/keys", data=body, headers=headers(key), timeout=30)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")


def test_models_are_told_as_they_fare(server: Server, key: str) -> None:
    listed = requests.get(f"{server.url}/api/v1/models?state=ready", headers=headers(key), timeout=30).json()
    (model,) = listed["results"]
    assert (model["state"], model["progress"], "open-autoglm-7b" in model["aliases"]) == ("ready", 1.0, True)
    named = requests.get(f"{server.url}/api/v1/models/open-autoglm-7b", headers=headers(key), timeout=30)
    assert named.json() == model
    missing = requests.get(f"{server.url}/api/v1/models/gpt-4", headers=headers(key), timeout=30)
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")


def test_the_pages_example_runs_as_it_is(server: Server) -> None:
    page = (REPOSITORY / "docs" / "api.md").read_text()
    example = page.partition("### Access tokens")[2].partition("```bash\n")[2].partition("```")[0]
    server.create_user("you@example.com", "your password")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", example.replace("http://127.0.0.1:8000", server.url)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert '"open-autoglm-7b"' in done.stdout
