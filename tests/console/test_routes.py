"""Every address of the pages, as everybody: what each role may do in a project, and what a stranger may.

A route that is not in this table fails the test: whoever adds one says here for whom it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import NamedTuple

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from apikeys import blocking, keys, project_invitations, projects
from apikeys.audit import SYSTEM
from apikeys.models import ApiKey, BlockedAddress, Membership, Project, ProjectInvitation, Role
from apikeys.usage import recording
from console import invitations
from console.models import Invitation, User
from tests.apikeys.conftest import make_event
from tests.console.conftest import signed_in

PUBLIC, PERSON, ADMINISTRATOR = "public", "person", "administrator"
ANYONE_SIGNED_IN = ("stranger", "viewer", "member", "admin", "owner", "administrator")
WHO = ("nobody", *ANYONE_SIGNED_IN)

# name: (method, the least that opens it). The roles are those in the project that the address is about.
ROUTES: dict[str, tuple[str, str]] = {
    "home": ("get", PUBLIC),
    "examples": ("get", PUBLIC),
    "overview": ("get", PERSON),
    "keys": ("get", PERSON),
    "mint": ("post", PERSON),
    "key": ("get", "admin"),  # of somebody else
    "rotate": ("post", "admin"),
    "revoke": ("post", "admin"),
    "projects": ("get", PERSON),
    "create_project": ("post", PERSON),
    "project": ("get", "viewer"),
    "edit_project": ("post", "admin"),
    "delete_project": ("post", "owner"),
    "invite_member": ("post", "admin"),
    "uninvite_member": ("post", "admin"),
    "set_role": ("post", "admin"),
    "remove_member": ("post", "admin"),
    "join": ("get", PERSON),
    "audit": ("get", PERSON),
    "usage": ("get", PERSON),
    "usage_csv": ("get", PERSON),
    "usage_request": ("get", "viewer"),  # of somebody else in the project
    "sessions": ("get", PERSON),
    "end_sessions": ("post", PERSON),
    "end_session": ("post", PERSON),
    "batches": ("get", PERSON),
    "batches_live": ("get", PERSON),
    "cancel_batch": ("post", PERSON),
    "batch_file": ("get", PERSON),
    "models": ("get", PERSON),
    "models_live": ("get", PERSON),
    "people": ("get", ADMINISTRATOR),
    "invite": ("post", ADMINISTRATOR),
    "withdraw": ("post", ADMINISTRATOR),
    "person_limits": ("get", ADMINISTRATOR),
    "prices": ("get", ADMINISTRATOR),
    "set_price": ("post", ADMINISTRATOR),
    "blocked": ("get", ADMINISTRATOR),
    "block": ("post", ADMINISTRATOR),
    "unblock": ("post", ADMINISTRATOR),
    "login": ("get", PUBLIC),
    "signup": ("get", PUBLIC),
    "password_reset": ("get", PUBLIC),
    "password_reset_done": ("get", PUBLIC),
    "invitation": ("get", PUBLIC),
}
# The same, for pages that are about the project which `?project=` names.
IN_A_PROJECT = {"keys": "viewer", "mint": "member", "audit": "admin"}


class World(NamedTuple):
    """A project with somebody of each role in it, and what its addresses name."""

    project: Project
    key: ApiKey  # of ``victim``, who is a member
    victim: Membership
    pending: ProjectInvitation
    invited: Invitation
    blocked: BlockedAddress
    people: dict[str, User]

    def address(self, name: str) -> str:
        ids: dict[str, dict[str, object]] = {
            "key_id": {"key_id": self.key.pk},
            "project_id": {"project_id": self.project.pk},
            "membership_id": {"membership_id": self.victim.pk},
            "invitation_id": {"invitation_id": self.invited.pk if name == "withdraw" else self.pending.pk},
            "sid": {"sid": "of-nobody"},
            "token": {"token": "no-such-token"},
            "user_id": {"user_id": self.victim.user_id},
            "block_id": {"block_id": self.blocked.pk},
            "request_id": {"request_id": "req-1"},
            "batch_id": {"batch_id": "of-nobody"},
            "kind": {"kind": "output"},
        }
        wanted = {key: value for part in parameters(name) for key, value in ids[part].items()}
        return reverse(f"console:{name}", kwargs=wanted)


@pytest.fixture
def world(administrator: User) -> World:
    people = {name: User.objects.create_user(f"{name}@example.com") for name in ANYONE_SIGNED_IN[:-1]}
    project = projects.create("Team", people["owner"], by=SYSTEM)
    for role in ("viewer", "member", "admin"):
        projects.add_member(project, people[role], role, by=SYSTEM)
    victim = User.objects.create_user("victim@example.com")
    membership = projects.add_member(project, victim, "member", by=SYSTEM)
    key, _ = keys.mint(victim, "theirs", project=project)
    recording.record(make_event(request_id="req-1", user_id=victim.pk, key_id=key.pk, project_id=project.pk))
    recording.flush()
    pending, _ = project_invitations.invite(project, "new@example.com", "member", by=SYSTEM)
    invited, _ = invitations.invite("newer@example.com", administrator)
    blocked = blocking.block("203.0.113.7", "", None, by=SYSTEM)
    return World(
        project, key, membership, pending, invited, blocked, {**people, "administrator": administrator}
    )


def console_routes() -> Iterator[URLPattern]:
    for entry in get_resolver().url_patterns:
        if isinstance(entry, URLResolver) and entry.namespace == "console":
            yield from (pattern for pattern in entry.url_patterns if isinstance(pattern, URLPattern))


def parameters(name: str) -> list[str]:
    [pattern] = [route for route in console_routes() if route.name == name]
    return list(pattern.pattern.converters)


def client_of(world: World, who: str) -> Client:
    return Client() if who == "nobody" else signed_in(world.people[who])


def may_open(who: str, least: str) -> bool:
    return WHO.index(who) >= WHO.index({PUBLIC: "nobody", PERSON: "stranger"}.get(least, least))


def test_the_table_has_every_route() -> None:
    assert {route.name for route in console_routes()} == set(ROUTES)


@pytest.mark.parametrize("who", WHO)
def test_each_route_opens_for_those_it_is_for(world: World, who: str) -> None:
    """Those that end something come last: the others need it."""
    last = ("unblock", "revoke", "remove_member", "uninvite_member", "withdraw", "delete_project")
    for name in sorted(ROUTES, key=lambda name: last.index(name) if name in last else -1):
        method, least = ROUTES[name]
        answer = getattr(client_of(world, who), method)(world.address(name), {"role": "viewer"})
        refused = answer.status_code in (403, 404) or "/accounts/login/" in answer.headers.get("Location", "")
        if name in (
            "join",
            "invitation",
            "end_session",
            "cancel_batch",
            "batch_file",
        ):  # what is named is nobody's
            assert refused, (who, name)
        else:
            assert refused != may_open(who, least), (who, name, answer.status_code)


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("name", IN_A_PROJECT)
def test_pages_about_a_project_open_for_its_roles(world: World, who: str, name: str) -> None:
    method, _ = ROUTES[name]
    client, path = client_of(world, who), world.address(name)
    if method == "post":
        answer = client.post(path, {"name": "mine", "expires": "7", "project": str(world.project.pk)})
    else:
        answer = client.get(path, {"project": str(world.project.pk)})
    refused = answer.status_code in (403, 404) or "/accounts/login/" in answer.headers.get("Location", "")
    assert refused != may_open(who, IN_A_PROJECT[name])


@pytest.mark.parametrize("who", ["nobody", "stranger"])
def test_strangers_cannot_tell_whether_a_project_exists(world: World, who: str) -> None:
    def outcome(project_id: int) -> tuple[int, str]:
        answer = client_of(world, who).get(f"/console/projects/{project_id}/")
        return answer.status_code, answer.headers.get("Location", "").replace(str(project_id), "N")

    assert outcome(world.project.pk) == outcome(world.project.pk + 1000)


@pytest.mark.parametrize("role", ["viewer", "member"])
def test_usage_of_a_project_shows_for_its_members(world: World, role: Role) -> None:
    page = client_of(world, role).get(f"/console/usage/?project={world.project.pk}").content.decode()
    assert "Team" in page
    assert "Team" not in client_of(world, "stranger").get("/console/usage/").content.decode()


def test_a_key_of_ones_own_is_changed_by_members_but_not_by_viewers(world: World) -> None:
    for role, opens in (("member", True), ("viewer", False)):
        key, _ = keys.mint(world.people[role], "mine", project=world.project)
        answer = client_of(world, role).post(f"/console/keys/{key.pk}/rotate/", {"grace": "1"})
        key.refresh_from_db()
        assert (answer.status_code == 403) != opens
        assert (key.replaced_by is not None) == opens
        assert (key.expires_at or key.created_at) - key.created_at < timedelta(hours=2)
