"""A server on which a batch runs: who waits for an answer does not notice, and it may die at any moment."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from tests.database import read
from tests.environment import REPOSITORY
from tests.server import Server
from tests.serving.batches.conftest import MODEL, client_of, content, jsonl, long_line, start, wait_for

pytestmark = pytest.mark.slow

URL = "/v1/completions"
RECORDS = "SELECT * FROM apikeys_usagerecord WHERE source = 'batch' AND request_id LIKE ?"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that computes two requests at a time and takes files of up to 1 MiB."""
    models: Path = tmp_path_factory.mktemp("small") / "models.toml"
    models.write_text((REPOSITORY / "models.toml").read_text() + "max_batch_size = 2\n")
    with Server(MODELS_FILE=str(models), FILE_MAX_MB="1") as server:
        yield server


@pytest.fixture
def small_client(small: Server) -> openai.OpenAI:
    return client_of(small, small.create_key("someone@example.com"))


def test_a_request_is_answered_before_the_lines_that_run(small_client: openai.OpenAI) -> None:
    batch = start(small_client, [long_line(f"{n}", 4000) for n in range(4)], URL)
    wait_for(small_client, batch, "in_progress")
    for _ in range(3):
        answer = small_client.completions.create(model=MODEL, prompt="Hello", max_tokens=4)
        assert answer.usage
    after = small_client.batches.cancel(batch.id)
    assert after.request_counts
    assert after.request_counts.completed == 0
    wait_for(small_client, batch, "cancelled")


def test_a_file_over_the_limit_is_413(small_client: openai.OpenAI) -> None:
    data = jsonl([long_line(f"{n}", 4) for n in range(8000)])
    for size in (1_050_000, 1_500_000):  # over the file's limit; over what a form with a file may have
        with pytest.raises(openai.APIStatusError) as caught:
            small_client.files.create(file=("in.jsonl", data[:size]), purpose="batch")
        assert (caught.value.status_code, caught.value.code) == (413, "request_too_large")


def test_a_server_that_is_killed_goes_on_and_no_line_is_lost_or_recorded_twice(
    small: Server, small_client: openai.OpenAI
) -> None:
    batch = start(small_client, [long_line(f"{n}", 40) for n in range(24)], URL)
    wait_for(small_client, batch, "in_progress", answered=5)
    small.stop(signal.SIGKILL)
    small.start()
    small.wait_ready()
    batch = wait_for(small_client, batch, "completed")
    assert batch.request_counts
    assert (batch.request_counts.completed, batch.request_counts.failed) == (24, 0)
    lines = content(small_client, batch.output_file_id)
    assert set(lines) == {f"{n}" for n in range(24)}
    assert {one["response"]["body"]["usage"]["completion_tokens"] for one in lines.values()} == {40}
    asked = batch.id.replace("batch_", "req-") + "-%"
    while len(rows := read(small.environment, RECORDS, asked)) < 24:
        time.sleep(0.1)
    assert sorted(row["request_id"] for row in rows) == sorted(
        one["response"]["request_id"] for one in lines.values()
    )
    assert {row["completion_tokens"] for row in rows} == {40}


def test_a_server_that_is_stopped_hands_its_batch_on(small: Server, small_client: openai.OpenAI) -> None:
    batch = start(small_client, [long_line(f"{n}", 100) for n in range(8)], URL)
    wait_for(small_client, batch, "in_progress", answered=1)
    small.stop()
    small.start()
    small.wait_ready()
    done = wait_for(small_client, batch, "completed")
    assert done.request_counts
    assert done.request_counts.completed == 8
