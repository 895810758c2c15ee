"""Who may sign up, who becomes the administrator, and how often one may try."""

from __future__ import annotations

import re
import threading

import pytest
from django.core import mail
from django.db import connection
from django.test import Client
from pytest_django import Settings

from console import invitations
from console.models import Invitation, User
from tests.people import PASSWORD

SIGNUP = "/accounts/signup/"
LOGIN = "/accounts/login/"
RESET = "/accounts/password/reset/"


def sign_up(email: str, client: Client | None = None) -> int:
    """The status: 302 when it worked."""
    answer = (client or Client()).post(SIGNUP, {"email": email, "password1": PASSWORD})
    return answer.status_code


@pytest.mark.django_db
def test_first_account_becomes_administrator_and_page_says_so() -> None:
    assert "becomes the administrator" in Client().get(SIGNUP).content.decode()
    assert sign_up("first@example.com") == 302
    assert User.objects.get(email="first@example.com").is_superuser


def test_second_account_is_a_plain_member(administrator: User) -> None:
    assert "becomes the administrator" not in Client().get(SIGNUP).content.decode()
    assert sign_up("second@example.com") == 302
    second = User.objects.get(email="second@example.com")
    assert not second.is_superuser
    assert not second.is_staff


@pytest.mark.django_db(transaction=True)
def test_of_first_sign_ups_at_once_only_one_becomes_administrator() -> None:
    start = threading.Barrier(4)

    def run(number: int) -> None:
        start.wait()
        try:
            sign_up(f"racer-{number}@example.com")
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert User.objects.count() == 4
    assert User.objects.filter(is_superuser=True).count() == 1


def test_same_address_cannot_sign_up_twice(person: User) -> None:
    assert sign_up("Grace@Example.com") == 200
    assert User.objects.filter(email__iexact="grace@example.com").count() == 1


def test_domain_policy_admits_its_domains_only(administrator: User, settings: Settings) -> None:
    settings.SIGNUP = "domain:corp.example,other.example"
    assert sign_up("in@corp.example") == 302
    assert sign_up("in@other.example") == 302
    assert sign_up("out@elsewhere.example") == 200
    assert sign_up("out@notcorp.example") == 200
    assert not User.objects.filter(email__startswith="out").exists()


def test_invite_policy_closes_sign_up(administrator: User, settings: Settings) -> None:
    settings.SIGNUP = "invite"
    assert "Sign-up is by invitation" in Client().get(SIGNUP).content.decode()
    sign_up("stranger@example.com")
    assert not User.objects.filter(email="stranger@example.com").exists()


@pytest.mark.django_db
def test_invite_policy_lets_the_first_account_in(settings: Settings) -> None:
    settings.SIGNUP = "invite"
    assert sign_up("first@example.com") == 302


def test_invitation_admits_its_address_once(administrator: User, settings: Settings) -> None:
    settings.SIGNUP = "invite"
    invitation, token = invitations.invite("guest@example.com", administrator)
    client = Client()
    assert client.get(f"/accounts/invitation/{token}/").headers["Location"] == SIGNUP
    assert sign_up("someone-else@example.com", client) == 200
    assert sign_up("guest@example.com", client) == 302
    invitation.refresh_from_db()
    assert invitation.status == "accepted"
    assert Client().get(f"/accounts/invitation/{token}/").status_code == 404


def test_invitation_that_is_over_says_so(administrator: User) -> None:
    invitation, token = invitations.invite("guest@example.com", administrator)
    Invitation.objects.filter(pk=invitation.pk).update(expires_at=invitation.created_at)
    answer = Client().get(f"/accounts/invitation/{token}/")
    assert answer.status_code == 404
    assert "This invitation is no longer valid" in answer.content.decode()


def test_forms_of_allauth_have_the_labels_of_this_site(as_person: Client) -> None:
    def labels(client: Client, path: str) -> list[str]:
        return re.findall(r"<label[^>]*>([^<]+)</label>", client.get(path).content.decode())

    change = labels(as_person, "/accounts/password/change/")
    assert change == ["Current password", "New password", "New password again"]
    for path in (LOGIN, SIGNUP, RESET):
        assert labels(Client(), path)[0] == "Email address"


def test_password_reset_leads_to_a_new_password(person: User) -> None:
    client = Client()
    assert client.post(RESET, {"email": person.email}).status_code == 302
    match = re.search(r"http://testserver(/\S+)", str(mail.outbox[0].body))
    assert match is not None
    form = client.get(match[1], follow=True)
    path = form.redirect_chain[-1][0]
    changed = client.post(
        path, {"password1": "a new long password", "password2": "a new long password"}, follow=True
    )
    assert "Your password has been changed" in changed.content.decode()
    person.refresh_from_db()
    assert person.check_password("a new long password")


def test_used_reset_link_is_refused(person: User) -> None:
    answer = Client().get("/accounts/password/reset/key/1-set-password/", follow=True)
    assert "This link is no longer valid" in answer.content.decode()


def test_password_guessing_at_one_account_is_stopped(person: User) -> None:
    for _ in range(10):
        assert Client().post(LOGIN, {"login": person.email, "password": "wrong"}).status_code == 200
    refused = Client().post(LOGIN, {"login": person.email.upper(), "password": PASSWORD})
    assert refused.status_code == 429
    assert 0 < int(refused.headers["Retry-After"]) <= 300
    assert "Too many tries" in refused.content.decode()
    assert Client().post(LOGIN, {"login": "other@example.com", "password": "wrong"}).status_code == 200


@pytest.mark.django_db
def test_sign_ups_from_one_address_are_limited(administrator: User) -> None:
    statuses = [sign_up(f"bot-{number}@example.com") for number in range(21)]
    assert statuses == [302] * 20 + [429]


@pytest.mark.django_db
def test_password_resets_for_one_account_are_limited(person: User) -> None:
    statuses = [Client().post(RESET, {"email": person.email}).status_code for _ in range(6)]
    assert statuses == [302] * 5 + [429]


def test_looking_at_the_sign_in_page_is_not_counted(db: None) -> None:
    assert {Client().get(LOGIN).status_code for _ in range(70)} == {200}


def test_signing_out_needs_a_post(as_person: Client) -> None:
    assert as_person.get("/accounts/logout/").status_code == 200
    assert as_person.get("/console/").status_code == 200
    assert as_person.post("/accounts/logout/").status_code == 302
    assert as_person.get("/console/").status_code == 302
