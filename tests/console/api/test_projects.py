"""/api/v1/projects: settings, members and invitations, to each by their role."""

from __future__ import annotations

import re
from typing import Any

import pytest

from apikeys import project_invitations
from apikeys.audit import SYSTEM
from apikeys.models import AuditEntry, Membership, Project, ProjectInvitation
from apikeys.projects import personal_project
from console.models import User
from tests.console.api.conftest import Program, error_of, joined, program_of, signed_in
from tests.people import add_administrator


def member(project: Project, user: User) -> str:
    return f"/projects/{project.pk}/members/{Membership.objects.get(project=project, user=user).pk}"


def test_a_project_is_made_changed_and_deleted(person: User) -> None:
    program = signed_in(person)
    made = program.post("/projects", {"name": "Research", "daily_tokens": 1000})
    assert (made["role"], made["personal"], made["daily_tokens"]) == ("owner", False, 1000)
    path = f"/projects/{made['id']}"
    changed = program.ask("PATCH", path, {"name": "Search", "daily_tokens": None, "keeps_content": True})
    assert changed.status_code == 200
    read = program.get(path)
    assert (read["name"], read["daily_tokens"], read["keeps_content"]) == ("Search", None, True)
    assert program.ask("DELETE", path).status_code == 204
    assert program.ask("GET", path).status_code == 404
    actions = list(AuditEntry.objects.filter(source="api").order_by("pk").values_list("action", flat=True))
    assert actions == ["project.create", "project.edit", "project.edit", "project.delete"]


def test_projects_are_listed_with_ones_role(person: User, shared: Project) -> None:
    viewer = signed_in(joined(shared, "viewer"))
    roles = {project["name"]: project["role"] for project in viewer.get("/projects")["results"]}
    assert roles == {"": "owner", "shared": "viewer"}
    assert [project["id"] for project in viewer.get("/projects?search=SHA")["results"]] == [shared.pk]


def test_what_a_personal_project_cannot(person: User) -> None:
    program, path = signed_in(person), f"/projects/{personal_project(person).pk}"
    refused = program.ask("PATCH", path, {"name": "mine"})
    assert (refused.status_code, error_of(refused)["param"]) == (400, "name")
    assert program.ask("DELETE", path).status_code == 409
    assert program.ask("DELETE", member(personal_project(person), person)).status_code == 409


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": "x", "tier": "high"}, "tier"),
        ({"name": "x", "id": 1}, "id"),
    ],
)
def test_a_project_that_makes_no_sense_is_refused(person: User, body: Any, param: str) -> None:
    refused = signed_in(person).ask("POST", "/projects", body)
    assert (refused.status_code, error_of(refused)["param"]) == (400, param)


def test_an_administrator_of_the_site_sets_who_is_served_first(shared: Project) -> None:
    root = signed_in(add_administrator("root@example.com"))
    assert root.ask("PATCH", f"/projects/{shared.pk}", {"tier": "high"}).status_code == 200
    shared.refresh_from_db()
    assert shared.tier == "high"


def test_a_key_sees_its_own_project_alone_and_makes_none(person: User, shared: Project) -> None:
    program = program_of(person, project=shared)
    assert [project["id"] for project in program.get("/projects")["results"]] == [shared.pk]
    assert program.ask("GET", f"/projects/{personal_project(person).pk}").status_code == 404
    assert program.ask("POST", "/projects", {"name": "x"}).status_code == 403


# What each role may do: read the project and its members; change it; invite a member; change a member's
# role; make an owner; delete it.
MATRIX = {
    None: (404, 404, 404, 404, 404, 404),
    "viewer": (200, 403, 403, 403, 403, 403),
    "member": (200, 403, 403, 403, 403, 403),
    "admin": (200, 200, 201, 200, 403, 403),
    "owner": (200, 200, 201, 200, 200, 204),
}


@pytest.mark.parametrize("role", MATRIX)
def test_each_role_may_do_what_it_may(shared: Project, role: str | None) -> None:
    program, path = signed_in(joined(shared, role)), f"/projects/{shared.pk}"
    somebody = User.objects.create_user("somebody@example.com")
    Membership.objects.create(project=shared, user=somebody, role="member")
    read, change, invite, give, give_owner, delete = MATRIX[role]
    for looked_at in ("", "/members"):
        assert program.ask("GET", path + looked_at).status_code == read
    assert program.ask("GET", path + "/invitations").status_code == {201: 200}.get(invite, invite)
    assert program.ask("PATCH", path, {"daily_tokens": 5}).status_code == change
    invitation = {"email": "ada@example.com", "role": "member"}
    assert program.ask("POST", path + "/invitations", invitation).status_code == invite
    assert program.ask("PATCH", member(shared, somebody), {"role": "viewer"}).status_code == give
    assert program.ask("PATCH", member(shared, somebody), {"role": "owner"}).status_code == give_owner
    removed = {200: 204}.get(give_owner, give_owner if role != "admin" else 204)
    assert program.ask("DELETE", member(shared, somebody)).status_code == removed
    assert program.ask("DELETE", path).status_code == delete


@pytest.mark.parametrize("path", ["", "/members", "/invitations", "/members/1", "/invitations/1"])
def test_strangers_without_a_credential_are_asked_for_one(shared: Project, path: str) -> None:
    for method in ("GET", "POST", "PATCH", "DELETE"):
        assert Program().ask(method, f"/projects/{shared.pk}{path}").status_code in (401, 405)


def test_the_last_owner_stays(shared: Project, person: User) -> None:
    program = signed_in(person)
    assert program.ask("PATCH", member(shared, person), {"role": "admin"}).status_code == 409
    refused = program.ask("DELETE", member(shared, person))
    assert (refused.status_code, error_of(refused)["code"]) == (409, "conflict")
    assert Membership.objects.get(project=shared, user=person).role == "owner"


def test_everybody_may_leave(shared: Project) -> None:
    user = joined(shared, "viewer")
    program = signed_in(user)
    assert program.ask("DELETE", member(shared, user)).status_code == 204
    assert program.ask("GET", f"/projects/{shared.pk}").status_code == 404


def test_an_invitation_is_a_link_that_lets_its_address_join(shared: Project, person: User) -> None:
    program, path = signed_in(person), f"/projects/{shared.pk}/invitations"
    invited = program.post(path, {"email": "Ada@Example.com", "role": "member"})
    token = re.search(r"/join/([^/]+)/$", invited["link"])
    assert token is not None
    invitation = project_invitations.find(token[1])
    assert invitation is not None
    assert program.get(path)["results"] == [{k: v for k, v in invited.items() if k != "link"}]
    assert program.ask("DELETE", f"{path}/{invited['id']}").status_code == 204
    assert program.ask("DELETE", f"{path}/{invited['id']}").status_code == 404
    assert not ProjectInvitation.objects.exists()
    refused = program.ask("POST", path, {"email": person.email, "role": "member"})
    assert (refused.status_code, error_of(refused)["param"]) == (400, "email")


def test_an_admin_makes_and_unmakes_no_owner(shared: Project, person: User) -> None:
    program = signed_in(joined(shared, "admin"))
    path = f"/projects/{shared.pk}/invitations"
    assert program.ask("POST", path, {"email": "ada@example.com", "role": "owner"}).status_code == 403
    invitation, _ = project_invitations.invite(shared, "ada@example.com", "owner", by=SYSTEM)
    assert program.ask("DELETE", f"{path}/{invitation.pk}").status_code == 403
    assert program.ask("PATCH", member(shared, person), {"role": "viewer"}).status_code == 403
    assert program.ask("DELETE", member(shared, person)).status_code == 403


def test_members_are_filtered_and_roles_are_known_ones(shared: Project, person: User) -> None:
    user, program = joined(shared, "viewer"), signed_in(person)
    listed = program.get(f"/projects/{shared.pk}/members?role=viewer")["results"]
    assert [(row["user"], row["email"], row["role"]) for row in listed] == [(user.pk, user.email, "viewer")]
    refused = program.ask("PATCH", member(shared, user), {"role": "king"})
    assert (refused.status_code, error_of(refused)["param"]) == (400, "role")
