"""Projects: everybody has a personal one, and what is said of it reaches the caller."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest
from asgiref.sync import async_to_sync

from apikeys import keys, known_keys
from apikeys.auth import authenticate, playground_caller
from apikeys.bounds import Bounds
from apikeys.models import ApiKey, Membership, Project, UsageRecord, UserLimits
from apikeys.projects import personal_project
from apikeys.usage.event import UsageEvent
from console.models import User
from tests.apikeys.conftest import make_event
from tests.environment import make_data_dir
from tests.server import Server

Minted = tuple[ApiKey, str]
pytestmark = pytest.mark.django_db


def test_a_personal_project_comes_with_the_account(user: User) -> None:
    project = personal_project(user)
    assert [(m.user_id, m.role) for m in project.memberships.all()] == [(user.pk, "owner")]


def test_a_personal_project_goes_with_the_account(minted: Minted, user: User) -> None:
    user.delete()
    assert (Project.objects.count(), ApiKey.objects.count()) == (0, 0)


def test_a_key_belongs_to_the_personal_project_unless_told(user: User) -> None:
    team = Project.objects.create(name="Team")
    assert keys.mint(user, "mine")[0].project == personal_project(user)
    assert keys.mint(user, "ours", project=team)[0].project == team


def test_those_limits_bind_that_are_set(minted: Minted, user: User) -> None:
    key, plaintext = minted
    Project.objects.filter(pk=key.project_id).update(requests_per_minute=60, tier="low")
    UserLimits.objects.create(user=user, monthly_money=Decimal("12.50"))
    caller = async_to_sync(authenticate)(f"Bearer {plaintext}")
    project, person = f"project:{key.project_id}", f"user:{user.pk}"
    assert caller.bounds == (
        Bounds(project, requests_per_minute=60),
        Bounds(person, monthly_money=Decimal("12.50")),
    )
    assert (caller.project_id, caller.tier) == (key.project_id, "low")
    played = async_to_sync(playground_caller)(user.pk)
    assert (played.bounds, played.tier) == (caller.bounds, "low")


@pytest.mark.parametrize(
    "change",
    [
        lambda key: key.project.save(),
        lambda key: UserLimits.objects.create(user=key.owner, max_concurrency=1),
        lambda key: Membership.objects.get(user=key.owner).delete(),
    ],
)
def test_what_changes_is_asked_about_at_once(minted: Minted, change: Callable[[ApiKey], object]) -> None:
    key, plaintext = minted
    async_to_sync(authenticate)(f"Bearer {plaintext}")
    change(key)
    assert known_keys.get(keys.digest(plaintext)) is None


def test_lines_from_before_there_were_projects_find_theirs(
    recorded: Callable[..., list[UsageEvent]], minted: Minted, user: User
) -> None:
    team = Project.objects.create(name="Team")
    ours, _ = keys.mint(user, "ours", project=team)
    events = [
        make_event(user_id=user.pk, key_id=ours.pk, project_id=None),
        make_event(user_id=user.pk, project_id=None),
        make_event(user_id=987_654, project_id=None),
    ]
    recorded(*events)
    found = [UsageRecord.objects.get(request_id=event.request_id).project_id for event in events]
    assert found == [team.pk, personal_project(user).pk, 0]


UPGRADE = """
from django.core.management import call_command
from django.db import connection
call_command("migrate", "console", verbosity=0)
call_command("migrate", "apikeys", "0001", verbosity=0)
with connection.cursor() as cursor:
    cursor.execute(
        "INSERT INTO console_user (id, email, password, is_superuser, is_staff, is_active, date_joined, "
        "first_name, last_name) VALUES (7, 'ada@example.com', '', FALSE, FALSE, TRUE, '2026-05-20', '', '')"
    )
    cursor.execute(
        "INSERT INTO apikeys_apikey (id, owner_id, name, prefix, hash, created_at) "
        "VALUES (5, 7, 'old', 'oag-old', '', '2026-05-20')"
    )
    for number, (user, key) in enumerate([("7", "5"), ("7", "NULL"), ("8", "NULL")]):
        cursor.execute(
            "INSERT INTO apikeys_usagerecord (request_id, user_id, key_id, source, endpoint, model, "
            "prompt_tokens, completion_tokens, status, finish_reason, error_code, started_at, duration_ms, "
            f"stream, rolled_up) VALUES ('{number}', {user}, {key}, '', '', '', 1, 1, 200, '', '', "
            "'2026-05-20', 1, FALSE, FALSE)"
        )
call_command("migrate", verbosity=0)
from apikeys.models import ApiKey, Membership, UsageRecord
print(
    list(Membership.objects.values_list("user", "role", "project__personal_of")),
    ApiKey.objects.get().project.personal_of_id,
    [record.project_id for record in UsageRecord.objects.order_by("request_id")],
)
"""


def test_an_upgrade_gives_projects_to_what_had_none() -> None:
    assert Server(DATA_DIR=str(make_data_dir())).shell(UPGRADE) == "[(7, 'owner', 7)] 7 [1, 1, 0]"
