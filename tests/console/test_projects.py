"""Pages of projects and their members: who joins, who may change what, and that all of it is logged."""

from __future__ import annotations

import re

import pytest
from django.core import mail
from django.test import Client

from apikeys import keys, projects
from apikeys.audit import SYSTEM
from apikeys.models import ApiKey, AuditEntry, Membership, Project, Role
from console.models import User
from tests.console.conftest import signed_in

PROJECTS = "/console/projects/"


@pytest.fixture
def team(person: User) -> Project:
    """Of ``person``, who is its owner."""
    return projects.create("Team", person, by=SYSTEM)


@pytest.fixture
def colleague(db: None) -> User:
    return User.objects.create_user("barbara@example.com")


def join(team: Project, user: User, role: Role) -> Membership:
    return projects.add_member(team, user, role, by=SYSTEM)


def at(team: Project, rest: str = "") -> str:
    return f"{PROJECTS}{team.pk}/{rest}"


def test_whoever_makes_a_project_owns_it(as_person: Client, person: User) -> None:
    page = as_person.post(f"{PROJECTS}new/", {"name": "Vision"}, follow=True).content.decode()
    assert "Vision" in page
    assert Membership.objects.get(project__name="Vision").role == "owner"
    entry = AuditEntry.objects.get(action="project.create")
    assert (entry.actor_id, entry.source, entry.address) == (person.pk, "console", "127.0.0.1")


def test_a_project_needs_a_name(as_person: Client) -> None:
    assert as_person.post(f"{PROJECTS}new/", {"name": " "}).status_code == 400
    assert not Project.objects.filter(personal_of=None).exists()


def test_somebody_is_invited_by_mail_and_joins(team: Project, as_person: Client, colleague: User) -> None:
    asked = {"email": "Barbara@example.com", "role": "member"}
    page = as_person.post(at(team, "invite/"), asked, follow=True).content.decode()
    [message] = mail.outbox
    assert message.to == ["barbara@example.com"]
    match = re.search(r"http://testserver(/console/join/\S+/)", str(message.body))
    assert match is not None
    assert match[1] in page
    invited = signed_in(colleague)
    assert "Join “Team”" in invited.get(match[1]).content.decode()
    assert "You belong to “Team” now" in invited.post(match[1], follow=True).content.decode()
    assert Membership.objects.get(project=team, user=colleague).role == "member"
    assert invited.get(match[1]).status_code == 404  # it works once
    actions = list(AuditEntry.objects.filter(project=team).order_by("pk").values_list("action", flat=True))
    assert actions == ["project.create", "member.invite", "member.add"]


def test_an_invitation_is_for_one_address(team: Project, as_person: Client, as_administrator: Client) -> None:
    as_person.post(at(team, "invite/"), {"email": "barbara@example.com", "role": "member"})
    match = re.search(r"(/console/join/\S+/)", str(mail.outbox[0].body))
    assert match is not None
    assert "Sign in with that address" in as_administrator.get(match[1]).content.decode()
    assert as_administrator.post(match[1]).status_code == 403


def test_a_withdrawn_invitation_opens_nothing(team: Project, as_person: Client, colleague: User) -> None:
    as_person.post(at(team, "invite/"), {"email": colleague.email, "role": "viewer"})
    match = re.search(r"(/console/join/\S+/)", str(mail.outbox[0].body))
    assert match is not None
    invitation = team.invitations.get()
    as_person.post(at(team, f"invitations/{invitation.pk}/withdraw/"))
    assert signed_in(colleague).post(match[1]).status_code == 404


def test_an_admin_makes_no_owners_and_unmakes_none(team: Project, person: User, colleague: User) -> None:
    join(team, colleague, "admin")
    admin, owner = signed_in(colleague), Membership.objects.get(project=team, user=person)
    mine = Membership.objects.get(project=team, user=colleague)
    assert admin.post(at(team, f"members/{owner.pk}/role/"), {"role": "viewer"}).status_code == 403
    assert admin.post(at(team, f"members/{mine.pk}/role/"), {"role": "owner"}).status_code == 403
    assert admin.post(at(team, f"members/{owner.pk}/remove/")).status_code == 403
    assert admin.post(at(team, "invite/"), {"email": "x@example.com", "role": "owner"}).status_code == 400
    assert admin.post(at(team, "delete/")).status_code == 403


def test_the_last_owner_stays(team: Project, as_person: Client, person: User) -> None:
    owner = Membership.objects.get(project=team, user=person)
    for path, data in ((f"members/{owner.pk}/role/", {"role": "admin"}), (f"members/{owner.pk}/remove/", {})):
        assert "needs an owner" in as_person.post(at(team, path), data, follow=True).content.decode()
    owner.refresh_from_db()
    assert owner.role == "owner"


def test_a_personal_project_cannot_be_left_or_deleted(as_person: Client, person: User) -> None:
    mine = projects.personal_project(person)
    membership = mine.memberships.get()
    as_person.post(at(mine, f"members/{membership.pk}/remove/"))
    as_person.post(at(mine, "delete/"))
    assert mine.memberships.get() == membership


def test_leaving_is_everybodys_right(team: Project, colleague: User) -> None:
    membership = join(team, colleague, "viewer")
    page = signed_in(colleague).post(at(team, f"members/{membership.pk}/remove/"), follow=True)
    assert page.redirect_chain[-1][0] == PROJECTS
    assert not Membership.objects.filter(pk=membership.pk).exists()


def test_limits_are_set_and_logged(team: Project, as_person: Client) -> None:
    asked = {"name": "Team", "requests_per_minute": "60", "daily_money": "1.50"}
    as_person.post(at(team, "edit/"), asked)
    team.refresh_from_db()
    assert (team.requests_per_minute, str(team.daily_money)) == (60, "1.5000")
    entry = AuditEntry.objects.get(action="project.edit")
    assert entry.before == {"requests_per_minute": None, "daily_money": None}
    assert entry.after == {"requests_per_minute": 60, "daily_money": "1.5"}


def test_a_limit_of_nothing_is_refused(team: Project, as_person: Client) -> None:
    answer = as_person.post(at(team, "edit/"), {"name": "Team", "requests_per_minute": "0"})
    assert answer.status_code == 400
    assert "greater than or equal to 1" in answer.content.decode()


def test_who_is_served_first_is_for_administrators_to_say(
    team: Project, as_person: Client, as_administrator: Client
) -> None:
    as_person.post(at(team, "edit/"), {"name": "Team", "tier": "high"})
    team.refresh_from_db()
    assert team.tier == "normal"
    as_administrator.post(at(team, "edit/"), {"name": "Team", "tier": "high"})
    team.refresh_from_db()
    assert team.tier == "high"


def test_keys_of_a_project_are_seen_by_all_and_changed_by_few(
    team: Project, as_person: Client, person: User, colleague: User
) -> None:
    as_person.post("/console/keys/mint/", {"name": "ours", "expires": "7", "project": str(team.pk)})
    key = ApiKey.objects.get(name="ours")
    assert key.project == team
    membership = join(team, colleague, "member")
    visitor = signed_in(colleague)
    page = visitor.get(f"/console/keys/?project={team.pk}").content.decode()
    assert key.prefix in page
    assert f"/console/keys/{key.pk}/" not in page
    assert visitor.get(f"/console/keys/{key.pk}/").status_code == 403
    projects.set_role(membership, "admin", by=SYSTEM)
    assert visitor.get(f"/console/keys/{key.pk}/").status_code == 200


def test_deleting_a_project_ends_its_keys(team: Project, as_person: Client, person: User) -> None:
    keys.mint(person, "ours", project=team)
    as_person.post(at(team, "delete/"))
    assert not ApiKey.objects.exists()
    assert AuditEntry.objects.filter(action="project.delete", project_id=team.pk).exists()


def test_the_log_of_a_project_is_for_those_who_manage_it(
    team: Project, as_person: Client, colleague: User, as_administrator: Client
) -> None:
    log = f"/console/audit/?project={team.pk}"
    assert "project.create" in as_person.get(log).content.decode()
    membership = join(team, colleague, "member")
    assert signed_in(colleague).get(log).status_code == 403
    membership.delete()
    assert signed_in(colleague).get(log).status_code == 404
    assert "member.add" in as_administrator.get("/console/audit/").content.decode()
