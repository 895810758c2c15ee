"""/api/v1/usage, /prices and /audit: what each person may see of what was used, charged and changed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from apikeys import keys, prices
from apikeys.models import ApiKey, Project
from apikeys.projects import personal_project
from apikeys.usage import recording
from console.models import User
from tests.apikeys.conftest import make_event
from tests.console.api.conftest import MANAGE, Program, error_of, joined, program_of, signed_in
from tests.people import add_administrator

NOW = datetime.now(UTC)
YESTERDAY = NOW - timedelta(days=1)


def use(user: User, project: Project, **fields: Any) -> None:
    recording.record(make_event(user_id=user.pk, project_id=project.pk, **{"started_at": NOW, **fields}))
    recording.flush()


@pytest.fixture
def used(person: User, shared: Project) -> Iterator[ApiKey]:
    """Three requests in ``shared``, one of them with this key, and one in the personal project."""
    key, _ = keys.mint(person, "CI", project=shared)
    other = joined(shared, "member")
    use(person, shared, key_id=key.pk, model="small")
    use(person, shared, model="large", started_at=YESTERDAY, status=500)
    use(other, shared, model="small")
    use(person, personal_project(person), model="small", source="playground")
    return key  # type: ignore[return-value]


def counts(answer: dict[str, Any], by: str) -> dict[Any, int]:
    return {row[by]: row["requests"] for row in answer["results"]}


@pytest.mark.django_db(transaction=True)
def test_usage_is_added_up_by_what_is_asked(used: ApiKey, person: User, shared: Project) -> None:
    program = signed_in(person)
    whole = program.get(f"/usage?project={shared.pk}&group_by=model")
    assert counts(whole, "model") == {"small": 2, "large": 1}
    assert (whole["totals"]["requests"], whole["totals"]["errors"], whole["step"]) == (3, 1, "day")
    assert whole["totals"]["prompt_tokens"] == 30
    assert counts(program.get(f"/usage?project={shared.pk}&group_by=key"), "key") == {used.pk: 1, None: 2}
    by_both = program.get(f"/usage?project={shared.pk}&group_by=start,model&ordering=start")
    assert [(row["start"][:10], row["model"]) for row in by_both["results"]] == [
        (f"{YESTERDAY:%Y-%m-%d}", "large"),
        (f"{NOW:%Y-%m-%d}", "small"),
    ]
    assert counts(program.get("/usage?group_by=project"), "project") == {
        shared.pk: 2,
        personal_project(person).pk: 1,
    }
    assert program.get("/usage?group_by=source&source=playground")["totals"]["requests"] == 1
    assert program.get(f"/usage?from={NOW:%Y-%m-%d}&range=24h")["totals"]["requests"] == 2
    page = program.get(f"/usage?project={shared.pk}&group_by=model&page_size=1&page=2")
    assert (page["count"], counts(page, "model"), page["next"]) == (2, {"large": 1}, None)


@pytest.mark.django_db(transaction=True)
def test_each_person_sees_the_usage_that_they_may(used: ApiKey, person: User, shared: Project) -> None:
    viewer, stranger = signed_in(joined(shared, "viewer")), signed_in(joined(shared, None))
    assert viewer.get("/usage")["totals"]["requests"] == 0
    assert viewer.get(f"/usage?project={shared.pk}")["totals"]["requests"] == 3
    assert stranger.ask("GET", f"/usage?project={shared.pk}").status_code == 404
    assert stranger.get(f"/usage?key={used.pk}")["totals"]["requests"] == 0
    assert stranger.ask("GET", "/usage?people=all").status_code == 403
    assert Program().ask("GET", "/usage").status_code == 401
    root = add_administrator("root@example.com")
    assert signed_in(root).get("/usage?people=all")["totals"]["requests"] == 4
    assert program_of(root, MANAGE).ask("GET", "/usage?people=all").status_code == 403
    _, plaintext = keys.mint(person, "reader", project=shared, scopes=["manage:read"])
    assert Program(plaintext).get("/usage")["totals"]["requests"] == 3, "all of its project"


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("group_by=colour", "group_by"),
        ("range=2y", "range"),
        ("from=yesterday", "from"),
        ("from=2026-05-20&to=2026-05-01", "from"),
        ("ordering=start&group_by=model", "ordering"),
        ("project=0", "project"),
        ("keys=1", "keys"),
    ],
)
def test_usage_that_makes_no_sense_is_refused(person: User, query: str, param: str) -> None:
    refused = program_of(person).ask("GET", f"/usage?{query}")
    assert (refused.status_code, error_of(refused)["param"]) == (400, param)


def test_prices_are_for_everybody_to_see(person: User) -> None:
    prices.set_price("small", (Decimal("0.5"), Decimal("1.5")))
    prices.set_price("large", (Decimal(2), Decimal(4)))
    program = program_of(person)
    assert [price["model"] for price in program.get("/prices")["results"]] == ["large", "small"]
    (price,) = program.get("/prices?model=small")["results"]
    assert (Decimal(price["input"]), Decimal(price["output"])) == (Decimal("0.5"), Decimal("1.5"))
    assert program.ask("POST", "/prices", {"model": "small"}).status_code == 405


@pytest.mark.parametrize(
    ("role", "seen"), [(None, 0), ("viewer", 0), ("member", 0), ("admin", 1), ("owner", 1)]
)
def test_who_manages_a_project_sees_what_was_changed_there(
    shared: Project, person: User, role: str | None, seen: int
) -> None:
    keys.mint(person, "CI", project=shared)
    program = signed_in(joined(shared, role))
    assert program.get(f"/audit?project={shared.pk}&action=key.mint")["count"] == seen


def test_an_administrator_of_the_site_sees_every_change(person: User, shared: Project) -> None:
    keys.mint(person, "CI", project=shared)
    keys.mint(person, "own")
    root = signed_in(add_administrator("root@example.com"))
    entries = root.get("/audit")
    assert entries["count"] == 2
    assert entries["results"][0]["previous_hash"] == entries["results"][1]["hash"]
    assert root.get(f"/audit?since={(NOW + timedelta(days=1)).isoformat().replace('+', '%2B')}")["count"] == 0
    assert Program().ask("GET", "/audit").status_code == 401
