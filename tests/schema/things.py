"""What there really is behind the names in addresses: without it, a made-up request only meets 404."""

from __future__ import annotations

import json
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from tests.server import Server

MODEL = "open-autoglm-7b"
LINE = {
    "custom_id": "a",
    "method": "POST",
    "url": "/v1/embeddings",
    "body": {"model": MODEL, "input": "Hi"},
}
MINT = """
import json
from apikeys import keys
from apikeys.scopes import SCOPES
from console.models import User

def mint(number):
    user = User.objects.create_user(f"schema-{number}@example.com")
    return keys.mint(user, "schema", scopes=list(SCOPES))[1]

print(json.dumps([mint(number) for number in range(%d)]))
"""


def mint(server: Server, count: int) -> list[str]:
    """Keys that may do everything, each of a person of its own: what one of them changes is nobody else's."""
    keys: list[str] = json.loads(server.shell(MINT % count).splitlines()[-1])
    return keys


class _FromElsewhere(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, source_address=("127.0.0.2", 0), **kwargs)


def session_of(key: str) -> requests.Session:
    """From an address of its own: wrong passwords count against it, not against those of other tests."""
    session = requests.Session()
    session.mount("http://", _FromElsewhere())
    session.headers["Authorization"] = f"Bearer {key}"
    return session


class Things:
    """Of the person whose ``session`` it is."""

    def __init__(self, url: str, session: requests.Session) -> None:
        self._url, self._session = url, session

    def named_in(self, path: str, name: str) -> Any:
        """What may stand for ``name`` in ``path``, as in ``/v1/files/{file_id}``."""
        kind = path.partition("{" + name + "}")[0].rstrip("/").rpartition("/")[2]
        return getattr(self, kind)()

    def models(self) -> str:
        return MODEL

    def projects(self) -> int:
        return int(self._ask("GET", "/api/v1/projects")["results"][0]["id"])

    def keys(self) -> int:
        return int(self._ask("POST", "/api/v1/keys", json={"name": "spare"})["id"])

    def members(self) -> int:
        return int(self._ask("GET", f"/api/v1/projects/{self.projects()}/members")["results"][0]["id"])

    def invitations(self) -> int:
        body = {"email": "ada@example.com", "role": "member"}
        return int(self._ask("POST", f"/api/v1/projects/{self.projects()}/invitations", json=body)["id"])

    def sessions(self) -> str:
        self._ask("POST", "/api/v1/sessions", json={})
        return str(self._ask("GET", "/api/v1/sessions")["results"][0]["id"])

    def files(self) -> str:
        files = {"file": ("in.jsonl", json.dumps(LINE))}
        return str(self._ask("POST", "/v1/files", files=files, data={"purpose": "batch"})["id"])

    def batches(self) -> str:
        body = {"input_file_id": self.files(), "endpoint": LINE["url"], "completion_window": "24h"}
        return str(self._ask("POST", "/v1/batches", json=body)["id"])

    def responses(self) -> str:
        body = {"model": MODEL, "input": "Hi", "max_output_tokens": 1}
        return str(self._ask("POST", "/v1/responses", json=body)["id"])

    def _ask(self, method: str, path: str, **what: Any) -> Any:
        answer = self._session.request(method, self._url + path, timeout=60, **what)
        answer.raise_for_status()
        return answer.json()
