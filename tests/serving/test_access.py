"""A key opens what it was minted for, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests

from tests.server import Server
from tests.serving.records import wait_for_record

MODEL = "open-autoglm-7b"
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1},
    "/v1/completions": {"prompt": "Hi", "max_tokens": 1},
    "/v1/messages": {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1},
    "/v1/messages/count_tokens": {"messages": [{"role": "user", "content": "Hi"}]},
    "/v1/responses": {"input": "Hi", "max_output_tokens": 1},
    "/v1/tokenize": {"prompt": "Hi"},
    "/v1/detokenize": {"tokens": [1]},
    "/v1/embeddings": {"input": "Hi"},
}
MINT = """
from apikeys import keys
from console.models import User
user, _ = User.objects.get_or_create(email="restricted@example.com")
print(keys.mint(user, "restricted", **{settings!r})[1])
"""


def mint(server: Server, **settings: Any) -> str:
    return server.shell(MINT.replace("{settings!r}", repr(settings)))


@pytest.fixture(scope="module")
def elsewhere(server: Server) -> str:
    """A key for another model."""
    return mint(server, models=["another-model"])


@pytest.fixture(scope="module")
def files_only(server: Server) -> str:
    return mint(server, scopes=["files"])


def ask(server: Server, key: str, path: str) -> requests.Response:
    body = {"model": MODEL, **BODIES[path]}
    return requests.post(server.url + path, json=body, headers={"Authorization": f"Bearer {key}"}, timeout=60)


@pytest.mark.parametrize("path", BODIES)
def test_another_model_is_refused(server: Server, elsewhere: str, path: str) -> None:
    answer = ask(server, elsewhere, path)
    assert answer.status_code == 403
    assert f"may not use the model '{MODEL}', only: another-model" in answer.text


@pytest.mark.parametrize("path", BODIES)
def test_a_missing_scope_is_named(server: Server, files_only: str, path: str) -> None:
    answer = ask(server, files_only, path)
    assert answer.status_code == 403
    assert "lacks the scope 'inference'" in answer.json()["error"]["message"]


def test_a_refusal_has_the_shape_of_all_errors_and_is_recorded(server: Server, files_only: str) -> None:
    answer = ask(server, files_only, "/v1/chat/completions")
    assert (answer.json()["error"]["code"], answer.json()["error"]["param"]) == ("permission_denied", None)
    record = wait_for_record(server, answer.headers["x-request-id"])
    assert (record["status"], record["error_code"]) == (403, "permission_denied")


def test_models_are_listed_that_may_be_used(server: Server, elsewhere: str, api_key: str) -> None:
    def listed(key: str) -> list[str]:
        headers = {"Authorization": f"Bearer {key}"}
        return [m["id"] for m in requests.get(server.url + "/v1/models", headers=headers).json()["data"]]

    assert MODEL in listed(api_key)
    assert listed(elsewhere) == []
    one = requests.get(f"{server.url}/v1/models/{MODEL}", headers={"Authorization": f"Bearer {elsewhere}"})
    assert one.status_code == 404


def test_a_model_may_be_allowed_by_its_name_or_an_alias(server: Server) -> None:
    key = mint(server, models=[MODEL])
    assert ask(server, key, "/v1/tokenize").status_code == 200


def test_a_key_for_another_network_is_refused(server: Server) -> None:
    key = mint(server, networks=["203.0.113.0/24"])
    headers = {"Authorization": f"Bearer {key}", "X-Forwarded-For": "203.0.113.7"}
    answer = requests.get(server.url + "/v1/models", headers=headers)
    assert answer.status_code == 403
    assert "may not be used from 127.0.0.1" in json.dumps(answer.json())
