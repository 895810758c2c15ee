"""What is kept survives the process; what it was in the middle of is lost, and said to be."""

from __future__ import annotations

import signal

import pytest
import requests

from tests.database import read
from tests.server import Server

pytestmark = pytest.mark.slow

ASKED = {"model": "open-autoglm-7b", "prompt": "Once upon a time", "max_tokens": 12}
LONG = {**ASKED, "max_tokens": 8000, "ignore_eos": True, "stream": True}


def post(server: Server, key: str, name: str, body: object, stream: bool = False) -> requests.Response:
    headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": name}
    return requests.post(
        f"{server.url}/v1/completions", json=body, headers=headers, stream=stream, timeout=60
    )


def test_the_death_of_the_process_and_its_stop() -> None:
    with Server() as server:
        key = server.create_key("idempotent@example.com")
        first = post(server, key, "whole", ASKED)
        next(post(server, key, "killed", LONG, stream=True).iter_content(1))
        server.stop(signal.SIGKILL)
        server.start()
        server.wait_ready()

        again = post(server, key, "whole", ASKED)
        assert again.headers["idempotent-replayed"] == "true"
        assert again.content == first.content

        let_the_claim_lapse(server, "killed")
        lost = post(server, key, "killed", LONG)
        assert lost.status_code == 409
        assert lost.json()["error"]["code"] == "idempotent_answer_lost"
        assert lost.headers["x-should-retry"] == "false"

        # A server that is told to stop knows what it gives up: that may be done again.
        next(post(server, key, "stopped", LONG, stream=True).iter_content(1))
        server.stop()
        assert keys_of_claims(server) == {"whole", "killed"}


def keys_of_claims(server: Server) -> set[str]:
    return {row["key"] for row in read(server.environment, "SELECT key FROM serving_keptanswer")}


def let_the_claim_lapse(server: Server, name: str) -> None:
    """As half a minute would."""
    server.shell(
        "from django.utils import timezone\n"
        "from serving.models import KeptAnswer\n"
        f"assert KeptAnswer.objects.filter(key={name!r}).update(alive_until=timezone.now()) == 1"
    )
