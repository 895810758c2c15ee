"""A real model with more to do than it can: the lowest tier is turned away first, by name."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack

import openai
import pytest

from tests.server import Server

pytestmark = pytest.mark.slow

MODEL = "open-autoglm-7b"
PATIENCE = 60.0  # seconds until the mean has followed the load
TIERS = ["low", "normal", "high", "high", "high"]
MAKE_KEYS = """
from apikeys import keys, projects
from console.models import User
for number, tier in enumerate({tiers}):
    user = User.objects.create_user(f"overload-{{number}}@example.com")
    project = projects.personal_project(user)
    type(project).objects.filter(pk=project.pk).update(tier=tier)
    print(keys.mint(user, tier)[1])
"""


@pytest.fixture
def clients(server: Server) -> list[openai.OpenAI]:
    """One of each of TIERS."""
    keys = server.shell(MAKE_KEYS.format(tiers=TIERS)).splitlines()
    return [
        openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0, timeout=PATIENCE)
        for key in keys
    ]


def crowd(client: openai.OpenAI, sequences: int) -> openai.Stream[openai.types.Completion]:
    """One request that runs so many until it is closed. 32 are computed at a time; 256 may wait."""
    return client.completions.create(
        model=MODEL, prompt="On", n=sequences, max_tokens=2000, stream=True, extra_body={"ignore_eos": True}
    )


def short(client: openai.OpenAI) -> openai.Stream[openai.types.Completion]:
    return client.completions.create(model=MODEL, prompt="Hi", max_tokens=2, stream=True)


def refusal(client: openai.OpenAI) -> openai.APIStatusError:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            short(client).close()
        except openai.InternalServerError as error:
            return error
        time.sleep(0.3)
    raise AssertionError("nobody was turned away")


@pytest.fixture
def crowds(clients: list[openai.OpenAI]) -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_the_lowest_tier_is_turned_away_first(clients: list[openai.OpenAI], crowds: ExitStack) -> None:
    low, normal, high, one, other = clients
    crowds.enter_context(crowd(one, 128))
    error = refusal(low)
    assert (error.status_code, error.code) == (503, "engine_overloaded")
    assert int(error.response.headers["retry-after-ms"]) >= 1000
    served = [short(normal)]
    crowds.enter_context(crowd(other, 110))
    assert refusal(normal).code == "engine_overloaded"
    served.append(short(high))
    crowds.close()
    assert [list(stream)[-1].choices[0].finish_reason for stream in served] == ["length"] * 2
    assert short(low).response.status_code == 200
