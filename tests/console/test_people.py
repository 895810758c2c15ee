"""Inviting people."""

from __future__ import annotations

import re
from datetime import timedelta

from django.core import mail
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from apikeys import keys
from apikeys.models import ApiKey, AuditEntry, UserLimits
from console.models import Invitation, User

PEOPLE = "/console/people/"
INVITE = "/console/people/invite/"


def test_invitation_is_mailed_and_its_link_shown_once(as_administrator: Client) -> None:
    page = as_administrator.post(INVITE, {"email": "Guest@example.com"}, follow=True).content.decode()
    match = re.search(r"http://testserver(/accounts/invitation/\S+/)<", page)
    assert match is not None
    assert mail.outbox[0].to == ["guest@example.com"]
    assert match[1] in mail.outbox[0].body
    assert match[1] not in as_administrator.get(PEOPLE).content.decode()
    assert Client().get(match[1]).status_code == 302


def test_second_invitation_replaces_the_first(as_administrator: Client) -> None:
    for _ in range(2):
        as_administrator.post(INVITE, {"email": "guest@example.com"})
    assert Invitation.objects.count() == 1


def test_people_who_are_here_are_not_invited(as_administrator: Client, person: User) -> None:
    answer = as_administrator.post(INVITE, {"email": person.email.upper()})
    assert answer.status_code == 400
    assert "has an account already" in answer.content.decode()


def test_mail_server_that_is_away_leaves_the_link(as_administrator: Client, settings: Settings) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 9  # the discard port: nobody listens
    page = as_administrator.post(INVITE, {"email": "guest@example.com"}, follow=True).content.decode()
    assert "could not be sent" in page
    assert "/accounts/invitation/" in page


def test_withdrawn_invitation_is_gone(as_administrator: Client) -> None:
    as_administrator.post(INVITE, {"email": "guest@example.com"})
    invitation = Invitation.objects.get()
    as_administrator.post(f"/console/people/invitations/{invitation.pk}/withdraw/")
    assert not Invitation.objects.exists()


def test_limits_of_a_person_are_set_and_logged(as_administrator: Client, person: User) -> None:
    limits = f"/console/people/{person.pk}/limits/"
    assert as_administrator.post(limits, {"tokens_per_minute": "0"}).status_code == 400
    page = as_administrator.post(limits, {"tokens_per_minute": "1000", "daily_money": "2"}, follow=True)
    assert f"The limits of {person.email} are saved" in page.content.decode()
    assert UserLimits.objects.get(user=person).tokens_per_minute == 1000
    entry = AuditEntry.objects.get(action="user.limits")
    assert entry.before == {"tokens_per_minute": None, "daily_money": None}
    assert entry.after == {"tokens_per_minute": 1000, "daily_money": "2", "user": person.email}
    assert 'value="1000"' in as_administrator.get(limits).content.decode()


def test_only_keys_that_still_work_are_counted(as_administrator: Client, administrator: User) -> None:
    keys.mint(administrator, "works", timezone.now() + timedelta(days=1))
    keys.revoke(keys.mint(administrator, "revoked")[0])
    expired, _ = keys.mint(administrator, "expired", timezone.now() + timedelta(days=1))
    ApiKey.objects.filter(pk=expired.pk).update(expires_at=timezone.now())
    [person] = as_administrator.get(PEOPLE).context["people"]
    [membership] = as_administrator.get("/console/projects/").context["memberships"]
    assert (person.active_keys, membership.active_keys) == (1, 1)


def test_budgets_are_shown_as_they_were_typed_in_the_currency(
    as_administrator: Client, administrator: User
) -> None:
    limits = f"/console/people/{administrator.pk}/limits/"
    as_administrator.post(limits, {"monthly_money": "250.50"})
    page = as_administrator.get(limits).content.decode()
    assert "Money per month (USD)" in page
    assert 'value="250.5"' in page
