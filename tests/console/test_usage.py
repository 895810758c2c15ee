"""The usage page: whose numbers it shows, and what its URL means."""

from __future__ import annotations

import csv
import io
import re
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.test import AsyncClient, Client
from django.utils import timezone

from apikeys import keys
from apikeys.models import ApiKey, Membership, Project, UsageRecord
from apikeys.projects import personal_project
from apikeys.usage.queries import LISTED
from console.models import User

USAGE = "/console/usage/"
CSV = "/console/usage.csv"


def record(user: User, request_id: str, key: ApiKey | None = None, **fields: object) -> None:
    values: dict[str, object] = {
        "source": "api" if key else "playground",
        "endpoint": "/v1/completions",
        "model": "smollm2-135m-instruct",
        "prompt_tokens": 11,
        "completion_tokens": 22,
        "status": 200,
        "finish_reason": "stop",
        "started_at": timezone.now(),
        "ttft_ms": 30,
        "duration_ms": 340,
        "stream": False,
        "project": key.project if key else personal_project(user),
    }
    UsageRecord.objects.create(user=user, key=key, request_id=request_id, **{**values, **fields})


def test_page_teaches_the_first_call_while_there_is_nothing(as_person: Client) -> None:
    page = as_person.get(USAGE).content.decode()
    assert "Nothing here yet" in page
    assert "http://testserver/v1/chat/completions" in page


def test_requests_with_an_access_token_are_told_from_the_playgrounds(as_person: Client, person: User) -> None:
    record(person, "req-token", source="api")
    page = as_person.get(USAGE).content.decode()
    assert "Access token<" in page
    assert "No key (playground, access tokens)" in page


def test_own_requests_are_counted_and_listed(as_person: Client, person: User, administrator: User) -> None:
    key, _ = keys.mint(person, "CI")
    record(person, "req-mine", key)
    record(person, "req-failed", key, status=429, error_code="rate_limit_exceeded", completion_tokens=0)
    record(administrator, "req-theirs")
    answer = as_person.get(USAGE)
    totals = answer.context["summary"].totals
    assert (totals.requests, totals.errors) == (2, 1)
    assert (totals.prompt_tokens, totals.completion_tokens) == (22, 22)
    page = answer.content.decode()
    assert "req-mine" in page
    assert "req-theirs" not in page
    assert "340 ms" in page


def test_chart_has_the_numbers_of_the_table(as_person: Client, person: User) -> None:
    record(person, "req-1")
    chart = as_person.get(USAGE).context["chart"]
    assert len(chart["times"]) == 7
    assert sum(chart["succeeded"]) == 1
    assert sum(chart["prompt_tokens"]) == 11
    assert sum(chart["completion_tokens"]) == 22


def test_filters_come_from_the_url(as_person: Client, person: User) -> None:
    key, _ = keys.mint(person, "CI")
    record(person, "req-key", key)
    record(person, "req-playground")
    record(person, "req-old", started_at=timezone.now() - timedelta(days=20))

    def ids(query: str) -> set[str]:
        return {row.request_id for row in as_person.get(USAGE + query).context["latest"]}

    assert ids("") == {"req-key", "req-playground"}
    assert ids("?range=30d") == {"req-key", "req-playground", "req-old"}
    assert ids(f"?key={key.pk}") == {"req-key"}
    assert ids("?source=playground") == {"req-playground"}
    assert ids("?model=other") == set()


@pytest.mark.parametrize(
    "query", ["?range=1y", "?from=yesterday", "?key=x", "?source=mars", "?from=2026-02-01&to=2026-01-01"]
)
def test_senseless_filters_are_named_not_fatal(query: str, as_person: Client) -> None:
    answer = as_person.get(USAGE + query)
    assert answer.status_code == 200
    assert len(answer.context["problems"]) == 1


def test_costs_in_a_column_line_up_at_the_point(as_person: Client, person: User) -> None:
    record(person, "req-1", cost_nanos=1_250_000_000, model="large")
    record(person, "req-2", cost_nanos=25_000_000, model="small")
    page = as_person.get(USAGE).content.decode()
    assert re.findall(r">([\d.]+ USD)</td>", page) == ["0.0250 USD", "1.2500 USD"]
    by_model = page[page.index('id="models-title"') : page.index('id="latest-title"')]
    assert sorted(re.findall(r">(\d+\.\d+)</td>", by_model)) == ["0.0250", "1.2500"]


def test_currency_stands_in_the_brackets_of_the_language(as_person: Client, person: User) -> None:
    record(person, "req-1")
    chinese = {"accept-language": "zh-CN"}
    assert "费用（USD）" in as_person.get(USAGE, headers=chinese).content.decode()
    assert "每日费用（USD）" in as_person.get("/console/keys/", headers=chinese).content.decode()


def test_money_and_compute_are_summed_and_listed(as_person: Client, person: User) -> None:
    for number in range(2):
        record(person, f"req-{number}", cost_nanos=1_250_000_000, compute_us=1_700_000, queue_ms=5)
    page = as_person.get(USAGE).content.decode()
    assert "2.50 USD" in page
    assert ">1.25 USD</td>" in page
    assert ">2.50</td>" in page
    assert "3.4 s" in page


def test_a_projects_usage_is_for_its_members(as_person: Client, person: User, administrator: User) -> None:
    project = Project.objects.create(name="Robots")
    record(administrator, "req-robot", project=project)
    record(administrator, "req-other")
    url = f"{USAGE}?project={project.pk}"
    assert as_person.get(url).context["summary"].totals.requests == 0
    Membership.objects.create(project=project, user=person, role="viewer")
    page = as_person.get(url)
    assert page.context["summary"].totals.requests == 1
    assert [row.request_id for row in page.context["latest"]] == ["req-robot"]
    assert as_person.get(USAGE).context["summary"].totals.requests == 0


def test_keys_that_are_many_are_listed_in_part(as_person: Client, person: User) -> None:
    fields: dict[str, Any] = {"source": "api", "project_id": 1}
    for number in range(LISTED + 2):
        record(person, f"req-{number}", key_id=number + 1000, cost_nanos=12_500_000, **fields)
    for number in range(LISTED):
        record(person, f"more-{number}", key_id=number + 1000, cost_nanos=1_250_000_000, **fields)
    page = as_person.get(USAGE).content.decode()
    assert page.count("Deleted key") == LISTED
    assert "2 more" in page
    by_key = page[page.index('id="keys-title"') : page.index('id="models-title"')]
    assert re.findall(r">(\d+\.\d+)</td>", by_key) == [*["1.2625"] * LISTED, "0.0250"]


def test_projects_of_others_are_told_apart_by_their_owners(
    as_administrator: Client, person: User, administrator: User
) -> None:
    record(person, "req-1")
    record(administrator, "req-2")
    page = as_administrator.get(USAGE + "?people=all")
    assert len(page.context["by_project"].rows) == 2
    assert person.email in page.content.decode()


def test_only_administrators_see_everybody(
    as_person: Client, as_administrator: Client, person: User, administrator: User
) -> None:
    record(person, "req-person")
    record(administrator, "req-administrator")
    assert as_person.get(USAGE + "?people=all").context["summary"].totals.requests == 1
    assert as_administrator.get(USAGE).context["summary"].totals.requests == 1
    assert as_administrator.get(USAGE + "?people=all").context["summary"].totals.requests == 2


def test_key_of_somebody_else_shows_nothing(as_person: Client, administrator: User) -> None:
    key, _ = keys.mint(administrator, "Not yours")
    record(administrator, "req-theirs", key)
    answer = as_person.get(f"{USAGE}?key={key.pk}")
    assert answer.context["summary"].totals.requests == 0
    assert "Not yours" not in answer.content.decode()


@pytest.mark.django_db(transaction=True)
def test_csv_has_the_same_requests(person: User) -> None:
    record(person, "req-1")
    record(person, "req-2", started_at=timezone.now() - timedelta(days=20))

    async def download() -> str:
        client = AsyncClient()
        await client.aforce_login(person)
        answer = await client.get(CSV)
        assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
        assert "attachment" in answer.headers["Content-Disposition"]
        return b"".join([part async for part in answer.streaming_content]).decode()  # type: ignore[attr-defined]

    rows = list(csv.DictReader(io.StringIO(async_to_sync(download)())))
    assert [(row["request_id"], row["prompt_tokens"], row["completion_tokens"]) for row in rows] == [
        ("req-1", "11", "22")
    ]
