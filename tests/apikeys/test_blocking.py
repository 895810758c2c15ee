"""Who is turned away at the door."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import requests
from asgiref.sync import async_to_sync
from django.core.cache import cache
from django.core.exceptions import ValidationError
from django.db import OperationalError, connection
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries
from requests.adapters import HTTPAdapter

from apikeys import blocking, keys
from apikeys.audit import SYSTEM
from apikeys.blocking import BLOCKED_FOR, FAILURES
from apikeys.credentials import look_up
from apikeys.errors import InvalidApiKey
from apikeys.models import ApiKey, AuditEntry, BlockedAddress
from tests.server import Server

pytestmark = pytest.mark.django_db
Minted = tuple[ApiKey, str]
THERE = "203.0.113.7"


@pytest.fixture(autouse=True)
def nothing_remembered() -> Iterator[None]:
    """From another test, whose rows are gone without a signal."""
    blocking._known.forget(lambda blocks: True)
    cache.clear()
    yield
    blocking._known.forget(lambda blocks: True)


def is_blocked(address: str) -> bool:
    return async_to_sync(blocking.is_blocked)(address)


def fail(times: int, address: str = THERE, key: str = "oag-mistyped") -> None:
    for _ in range(times):
        with pytest.raises(InvalidApiKey):
            look_up(key, address)


@pytest.mark.parametrize(
    ("network", "address", "blocked"),
    [
        (THERE, THERE, True),
        ("203.0.113.0/24", THERE, True),
        ("2001:db8::/32", "2001:db8::1", True),
        ("203.0.113.8", THERE, False),
        ("2001:db8::/32", THERE, False),
    ],
)
def test_a_network_is_blocked_and_nothing_else(network: str, address: str, blocked: bool) -> None:
    assert not is_blocked(address)
    blocking.block(network, "", None, by=SYSTEM)
    assert is_blocked(address) == blocked


def test_the_door_costs_no_query(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    blocking.block("198.51.100.0/24", "", None, by=SYSTEM)
    is_blocked(THERE)
    with django_assert_num_queries(0):
        is_blocked(THERE)


def test_a_block_ends_by_the_clock() -> None:
    row = blocking.block(THERE, "", timezone.now() + timedelta(milliseconds=300), by=SYSTEM)
    assert is_blocked(THERE)
    assert row.until is not None
    time.sleep((row.until - timezone.now()).total_seconds() + 0.01)
    assert not is_blocked(THERE)


def test_a_block_is_lifted_and_both_are_logged() -> None:
    row = blocking.block(THERE, "scans", None, by=SYSTEM)
    blocking.unblock(row, by=SYSTEM)
    assert not is_blocked(THERE)
    said = AuditEntry.objects.order_by("pk").values_list("action", "before", "after")
    assert list(said) == [
        ("address.block", {}, {"network": THERE, "reason": "scans"}),
        ("address.unblock", {"network": THERE, "reason": "scans"}, {}),
    ]


@pytest.mark.django_db(transaction=True)
def test_while_the_database_is_away_the_list_holds_and_then_it_is_asked_again() -> None:
    blocking.block(THERE, "", None, by=SYSTEM)
    assert is_blocked(THERE)
    row = BlockedAddress.objects.get()
    blocking._known.forget(lambda blocks: True)
    with connection.execute_wrapper(_is_away):
        assert is_blocked(THERE)
    blocking.unblock(row, by=SYSTEM)
    assert not is_blocked(THERE)


def _is_away(*args: object) -> None:
    raise OperationalError("away")


def test_what_is_no_network_is_refused() -> None:
    with pytest.raises(ValidationError):
        blocking.block("everybody", "", None, by=SYSTEM)


def test_many_wrong_keys_block_an_address_for_a_while(minted: Minted) -> None:
    fail(FAILURES - 1)
    assert not is_blocked(THERE)
    fail(1, key=keys.BRAND + "0" * 42)
    assert is_blocked(THERE)
    until = BlockedAddress.objects.get(network=THERE).until
    assert until is not None
    assert abs(until - timezone.now() - BLOCKED_FOR) < timedelta(minutes=1)
    assert not is_blocked("203.0.113.8")


def test_right_keys_and_those_that_have_ended_do_not_count(minted: Minted) -> None:
    key, plaintext = minted
    keys.revoke(key)
    fail(FAILURES + 1, key=plaintext)
    assert not is_blocked(THERE)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "0.0.0.0"])  # noqa: S104
def test_this_machine_is_never_blocked_by_itself(address: str) -> None:
    fail(FAILURES, address)
    assert not BlockedAddress.objects.exists()


def test_the_server_turns_away_whoever_is_blocked(server: Server, api_key: str) -> None:
    """All of 127/8 is this machine, so a client may come from any of it."""

    class From(HTTPAdapter):
        def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
            super().init_poolmanager(*args, source_address=("127.9.9.9", 0), **kwargs)

    there = requests.Session()
    there.mount("http://", From())
    headers = {"Authorization": f"Bearer {api_key}"}
    assert there.get(server.url + "/v1/models", headers=headers).status_code == 200
    server.shell(
        "from apikeys import audit, blocking; blocking.block('127.9.9.9', '', None, by=audit.SYSTEM)"
    )
    time.sleep(blocking.TRUSTED)  # another process has blocked it
    for path in ("/v1/models", "/", "/static/css/base.css"):
        answer = there.get(server.url + path, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "permission_denied")
        assert answer.headers["x-request-id"]
        assert requests.get(server.url + path, headers=headers).status_code == 200
