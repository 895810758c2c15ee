"""A batch from its file to its answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import openai
import pytest

from serving.batches.schemas import ENDPOINTS
from tests.server import Server
from tests.serving.batches.conftest import (
    ENDPOINT,
    client_of,
    content,
    line,
    long_line,
    start,
    upload,
    wait_for,
)
from tests.serving.records import find_records, wait_for_record


def test_batches_at_once_are_answered_as_direct_calls_are(server: Server, client: openai.OpenAI) -> None:
    batches = [start(client, [line(f"{n}", url) for n in range(3)], url) for url in ENDPOINTS]
    done = [wait_for(client, batch, "completed") for batch in batches]
    answers = [content(client, batch.output_file_id) for batch in done]
    for batch, lines in zip(done, answers, strict=True):
        assert batch.request_counts
        assert (batch.request_counts.total, batch.request_counts.completed) == (3, 3)
        assert (batch.error_file_id, batch.errors) == (None, None)
        assert list(lines) == ["0", "1", "2"], "in the file's order"
    messages: Any = line("")["body"]["messages"]
    direct = client.chat.completions.create(
        model="open-autoglm-7b", messages=messages, max_tokens=8, temperature=0
    )
    answer = answers[0]["0"]["response"]
    assert answer["body"]["choices"][0]["message"]["content"] == direct.choices[0].message.content
    record = wait_for_record(server, answer["request_id"])
    assert (record["source"], record["status"]) == ("batch", 200)
    assert record["completion_tokens"] == answer["body"]["usage"]["completion_tokens"]


def test_lines_that_are_refused_are_told_in_the_error_file(client: openai.OpenAI) -> None:
    lines = [line("good"), line("gone", model="gpt-9"), line("hot", temperature=9)]
    batch = wait_for(client, start(client, lines), "completed")
    assert batch.request_counts
    assert (batch.request_counts.completed, batch.request_counts.failed) == (1, 2)
    assert set(content(client, batch.output_file_id)) == {"good"}
    errors = content(client, batch.error_file_id)
    assert set(errors) == {"gone", "hot"}
    assert errors["gone"]["response"]["status_code"] == 404
    assert errors["gone"]["response"]["body"]["error"]["code"] == "model_not_found"
    assert errors["hot"]["response"]["body"]["error"]["param"] == "temperature"


def test_lines_that_are_no_requests_fail_the_batch_before_it_runs(client: openai.OpenAI) -> None:
    lines = [
        line("a"),
        line("a"),
        line("b", "/v1/completions"),
        {**line("c"), "method": "GET"},
        {"method": "POST", "url": ENDPOINT, "body": {}},
        line("d", stream=True),
        {**line("e"), "extra": 1},
        {**line("f"), "a\0": 1},
    ]
    batch = wait_for(client, start(client, lines), "failed")
    assert batch.errors
    assert batch.errors.data
    assert [(error.line, error.code, error.param) for error in batch.errors.data] == [
        (2, "duplicate_custom_id", "custom_id"),
        (3, "mismatched_endpoint", "url"),
        (4, "invalid_request", "method"),
        (5, "missing_required_parameter", "custom_id"),
        (6, "invalid_stream", "body.stream"),
        (7, "unknown_parameter", "extra"),
        (8, "unknown_parameter", "a\N{REPLACEMENT CHARACTER}"),
    ]
    assert batch.output_file_id is None


def test_cancelling_stops_what_runs_and_keeps_what_is_done(server: Server, client: openai.OpenAI) -> None:
    lines = [line("first", "/v1/completions"), *(long_line(f"long {n}", 6000) for n in range(12))]
    batch = wait_for(client, start(client, lines, "/v1/completions"), "in_progress", answered=1)
    with pytest.raises(openai.ConflictError):
        client.files.delete(batch.input_file_id)
    began = time.monotonic()
    assert client.batches.cancel(batch.id).status == "cancelling"
    batch = wait_for(client, batch, "cancelled")
    assert time.monotonic() - began < 10
    assert set(content(client, batch.output_file_id)) == {"first"}
    errors = content(client, batch.error_file_id)
    assert len(errors) == 12
    assert {one["error"]["code"] for one in errors.values()} == {"batch_cancelled"}
    assert batch.request_counts
    assert batch.request_counts.failed == 12
    cut_off = batch.id.replace("batch_", "req-") + "-2"
    assert find_records(server, cut_off) == [], "what nobody got is nobody's bill"
    with pytest.raises(openai.ConflictError):
        start_and_cancel_again(client, batch.id)


def start_and_cancel_again(client: openai.OpenAI, batch_id: str) -> None:
    assert client.batches.cancel(batch_id).status == "cancelled", "as often as one likes"
    done = wait_for(client, start(client, [line("a")]), "completed")
    client.batches.cancel(done.id)


def test_a_batch_whose_day_is_over_ends_with_what_it_has(server: Server, client: openai.OpenAI) -> None:
    lines = [line("first", "/v1/completions"), *(long_line(f"long {n}", 6000) for n in range(9))]
    batch = wait_for(client, start(client, lines, "/v1/completions"), "in_progress", answered=1)
    server.shell(
        "from django.utils import timezone; from serving.models import Batch;"
        f"Batch.objects.filter(id={batch.id!r}).update(expires_at=timezone.now())"
    )
    batch = wait_for(client, batch, "expired")
    assert set(content(client, batch.output_file_id)) == {"first"}
    assert {one["error"]["code"] for one in content(client, batch.error_file_id).values()} == {
        "batch_expired"
    }


def test_what_is_foreign_is_not_there(
    server: Server, client: openai.OpenAI, new_key: Callable[[], str]
) -> None:
    batch = wait_for(client, start(client, [line("a")]), "completed")
    stranger = client_of(server, new_key())
    calls: list[Callable[[], object]] = [
        lambda: stranger.batches.retrieve(batch.id),
        lambda: stranger.batches.cancel(batch.id),
        lambda: stranger.files.retrieve(batch.input_file_id),
        lambda: stranger.files.content(batch.output_file_id or ""),
        lambda: stranger.files.delete(batch.input_file_id),
        lambda: stranger.batches.create(
            input_file_id=batch.input_file_id, endpoint="/v1/completions", completion_window="24h"
        ),
    ]
    for call in calls:
        with pytest.raises(openai.NotFoundError):
            call()
    assert list(stranger.batches.list()) == []
    assert list(stranger.files.list()) == []


def test_lists_come_in_pages_newest_first(server: Server, new_key: Callable[[], str]) -> None:
    client = client_of(server, new_key())
    batches = [wait_for(client, start(client, [line("a")]), "completed") for _ in range(3)]
    newest_first = [batch.id for batch in reversed(batches)]
    page = client.batches.list(limit=2)
    assert ([one.id for one in page.data], page.has_more) == (newest_first[:2], True)
    assert [one.id for one in client.batches.list(limit=2)] == newest_first
    assert [one.purpose for one in client.files.list(purpose="batch_output")] == ["batch_output"] * 3
    oldest = client.files.list(order="asc", limit=1, purpose="batch").data[0]
    assert oldest.id == batches[0].input_file_id
    for wrong in ({"limit": 0}, {"limit": "many"}, {"after": "nothing"}, {"page": 2}):
        with pytest.raises(openai.BadRequestError) as caught:
            client.batches.list(extra_query=wrong)
        assert caught.value.param == next(iter(wrong))


@pytest.mark.parametrize(
    ("change", "status", "param"),
    [
        ({"endpoint": "/v1/messages"}, 400, "endpoint"),
        ({"completion_window": "1h"}, 400, "completion_window"),
        ({"input_file_id": "file-none"}, 404, "input_file_id"),
        ({"metadata": {"a": 1}}, 400, "metadata.a"),
        ({"priority": "high"}, 400, "priority"),
    ],
)
def test_a_wrong_field_is_named(
    client: openai.OpenAI, change: dict[str, Any], status: int, param: str
) -> None:
    good: Any = {"endpoint": ENDPOINT, "completion_window": "24h", "input_file_id": ""}
    with pytest.raises(openai.APIStatusError) as caught:
        client.batches.create(**good, extra_body=change)
    assert (caught.value.status_code, caught.value.param) == (status, param)


def test_metadata_and_lines_of_an_output_cannot_be_run_again(client: openai.OpenAI) -> None:
    file_id = upload(client, [line("a")])
    batch = client.batches.create(
        input_file_id=file_id, endpoint=ENDPOINT, completion_window="24h", metadata={"run": "一"}
    )
    assert batch.metadata == {"run": "一"}
    done = wait_for(client, batch, "completed")
    with pytest.raises(openai.BadRequestError) as caught:
        client.batches.create(
            input_file_id=done.output_file_id or "", endpoint=ENDPOINT, completion_window="24h"
        )
    assert caught.value.param == "input_file_id"
