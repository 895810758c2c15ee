from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import pytest
from django.core import mail
from django.utils import timezone
from pytest_django import Settings

from apikeys import keys
from apikeys.models import Membership, Notice, Project, UserLimits
from apikeys.notices import send_all
from apikeys.tasks import roll_up_usage, send_notices
from apikeys.usage.event import UsageEvent
from console.models import User
from tests.apikeys.conftest import NOON, make_event

Record = Callable[..., list[UsageEvent]]


def test_a_key_that_expires_soon_is_told_once(user: User) -> None:
    now = timezone.now()
    keys.mint(user, "soon", now + timedelta(days=6))
    keys.mint(user, "later", now + timedelta(days=8))
    keys.mint(user, "over", now - timedelta(days=1))
    revoked, _ = keys.mint(user, "revoked", now + timedelta(days=1))
    keys.revoke(revoked)
    assert send_notices() == 1
    assert send_notices() == 0
    [message] = mail.outbox
    assert message.to == [user.email]
    assert "“soon” expires on" in message.subject
    assert "/console/keys/" in message.body


def test_a_key_whose_end_is_moved_is_told_again(user: User) -> None:
    key, _ = keys.mint(user, "soon", timezone.now() + timedelta(days=1))
    assert send_all() == 1
    key.expires_at = timezone.now() + timedelta(days=2)
    key.save()
    assert send_all() == 1


@pytest.mark.parametrize("rolled_up", [False, True])
def test_a_budget_is_told_at_80_and_at_100_percent_once_each(
    rolled_up: bool, user: User, recorded: Record
) -> None:
    UserLimits.objects.create(user=user, monthly_tokens=1000)

    def use(tokens: int) -> int:
        recorded(make_event(user_id=user.pk, prompt_tokens=tokens, completion_tokens=0))
        if rolled_up:
            roll_up_usage()
        return send_all(NOON) + send_all(NOON)

    assert [use(790), use(20), use(100), use(100), use(500)] == [0, 1, 0, 1, 0]
    assert ["80 %" in message.subject for message in mail.outbox] == [True, False]
    assert send_all(NOON + timedelta(days=31)) == 0  # another month: nothing is spent of it


def test_money_is_a_budget_too_and_days_begin_anew(user: User, recorded: Record) -> None:
    UserLimits.objects.create(user=user, daily_money=Decimal("0.5"))
    recorded(make_event(user_id=user.pk, cost_nanos=450_000_000))
    assert send_all(NOON) == 1
    assert send_all(NOON + timedelta(days=1)) == 0
    recorded(make_event(user_id=user.pk, cost_nanos=450_000_000, started_at=NOON + timedelta(days=1)))
    assert send_all(NOON + timedelta(days=1)) == 1


def test_who_manages_a_project_hears_of_its_budget(user: User, recorded: Record) -> None:
    project = Project.objects.create(name="Robots", daily_tokens=100)
    for role in ("admin", "member"):
        person = User.objects.create_user(f"{role}@example.com")
        Membership.objects.create(project=project, user=person, role=role)
    recorded(make_event(user_id=user.pk, project_id=project.pk, prompt_tokens=100))
    assert send_all(NOON) == 1
    assert mail.outbox[0].to == ["admin@example.com"]
    assert "Robots" in mail.outbox[0].subject


def test_a_mail_that_did_not_leave_is_tried_again(
    user: User, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    keys.mint(user, "soon", timezone.now() + timedelta(days=6))
    working = settings.EMAIL_BACKEND
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 9  # the discard port: nobody listens
    assert send_all() == 0
    assert "could not be mailed" in caplog.text
    assert not Notice.objects.exists()
    settings.EMAIL_BACKEND = working
    assert send_all() == 1
