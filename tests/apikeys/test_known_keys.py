from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any

import pytest
import requests
from asgiref.sync import async_to_sync
from django.contrib.auth.models import AbstractUser
from django.db import OperationalError, connection, transaction
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from apikeys import keys, known_keys
from apikeys.auth import authenticate
from apikeys.errors import InvalidApiKey
from apikeys.known import KEEP, TRUSTED, TRUSTED_ALONE, Known
from apikeys.known_keys import KnownKeys
from apikeys.models import ApiKey
from console.models import User
from tests.server import Server

pytestmark = pytest.mark.django_db
Minted = tuple[ApiKey, str]


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def known(clock: Clock) -> KnownKeys:
    return KnownKeys(clock)


def look_up(known: KnownKeys, minted: Minted) -> ApiKey | None:
    key, plaintext = minted
    return known.look_up(key.prefix, keys.digest(plaintext))


def call_with(plaintext: str) -> None:
    async_to_sync(authenticate)(f"Bearer {plaintext}")


def test_a_warm_key_costs_no_query(minted: Minted, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    call_with(minted[1])
    with django_assert_num_queries(0):
        call_with(minted[1])


def test_another_secret_under_a_warm_prefix_does_not_open(minted: Minted, user: User) -> None:
    """Well formed, but not the key that was looked up."""
    call_with(minted[1])
    other, plaintext = keys.mint(user, "other")
    other.delete()
    ApiKey.objects.filter(pk=minted[0].pk).update(prefix=plaintext[: keys.PREFIX_LENGTH])
    with pytest.raises(InvalidApiKey):
        call_with(plaintext)


def revoke(key: ApiKey) -> None:
    keys.revoke(key)


def delete(key: ApiKey) -> None:
    key.delete()


def deactivate_owner(key: ApiKey) -> None:
    owner: AbstractUser = User.objects.get(pk=key.owner_id)
    owner.is_active = False
    owner.save()


def delete_owner(key: ApiKey) -> None:
    User.objects.get(pk=key.owner_id).delete()


def expire_by_hand(key: ApiKey) -> None:
    key.expires_at = timezone.now() - timedelta(milliseconds=1)
    key.save()


@pytest.mark.parametrize("end", [revoke, delete, deactivate_owner, delete_owner, expire_by_hand])
def test_a_warm_key_that_this_process_ends_is_refused_at_once(
    minted: Minted, end: Callable[[ApiKey], None]
) -> None:
    call_with(minted[1])
    end(minted[0])
    with pytest.raises(InvalidApiKey):
        call_with(minted[1])


def test_a_warm_key_expires_on_time(user: User) -> None:
    key, plaintext = keys.mint(user, "short")
    ApiKey.objects.filter(pk=key.pk).update(expires_at=timezone.now() + timedelta(milliseconds=200))
    call_with(plaintext)
    time.sleep(0.25)
    with pytest.raises(InvalidApiKey, match="expired"):
        call_with(plaintext)


@pytest.mark.django_db(transaction=True)
def test_a_key_looked_up_before_its_end_was_committed_is_refused_after(minted: Minted) -> None:
    def look_up_elsewhere() -> None:
        call_with(minted[1])

    with transaction.atomic():
        keys.revoke(minted[0])
        other = threading.Thread(target=look_up_elsewhere)
        other.start()
        other.join()
    with pytest.raises(InvalidApiKey, match="revoked"):
        call_with(minted[1])


def test_what_is_known_is_trusted_for_a_second(known: KnownKeys, clock: Clock, minted: Minted) -> None:
    look_up(known, minted)
    clock.now += TRUSTED - 0.01
    assert known.get(minted[0].hash) == minted[0]
    clock.now += 0.02
    assert known.get(minted[0].hash) is None


def test_asking_again_keeps_a_key_that_is_used(known: KnownKeys, clock: Clock, minted: Minted) -> None:
    look_up(known, minted)
    clock.now += TRUSTED
    known.ask_again()
    assert known.get(minted[0].hash) == minted[0]


def test_asking_again_brings_what_has_changed(known: KnownKeys, minted: Minted) -> None:
    look_up(known, minted)
    ApiKey.objects.filter(pk=minted[0].pk).update(revoked_at=timezone.now())
    known.ask_again()
    key = known.get(minted[0].hash)
    assert key is not None
    assert key.status == "revoked"


def test_a_key_that_is_gone_or_idle_is_forgotten(
    known: KnownKeys, clock: Clock, minted: Minted, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    look_up(known, minted)
    clock.now += KEEP
    known.ask_again()
    with django_assert_num_queries(0):
        known.ask_again()
    look_up(known, minted)
    ApiKey.objects.filter(pk=minted[0].pk).delete()
    clock.now += 0.1
    known.ask_again()
    assert known.get(minted[0].hash) is None


@pytest.fixture
def away() -> list[bool]:
    """Not empty: the database does not answer."""
    return []


@pytest.fixture
def known_words(clock: Clock, away: list[bool]) -> Known[str]:
    def ask(words: Mapping[str, str]) -> Mapping[str, str]:
        if away:
            raise OperationalError("the connection was refused")
        return words

    known = Known("word", ask, clock)
    known.learn("name", lambda: "word")
    return known


def test_what_is_known_holds_while_the_database_is_away(
    known_words: Known[str], clock: Clock, away: list[bool]
) -> None:
    away.append(True)
    with pytest.raises(OperationalError):
        known_words.ask_again()
    clock.now += TRUSTED_ALONE - 0.1
    assert known_words.get("name") == "word"
    clock.now += 0.1
    assert known_words.get("name") is None


def test_a_second_is_the_bound_again_once_the_database_answers(
    known_words: Known[str], clock: Clock, away: list[bool]
) -> None:
    away.append(True)
    with pytest.raises(OperationalError):
        known_words.ask_again()
    away.clear()
    known_words.ask_again()
    clock.now += TRUSTED
    assert known_words.get("name") is None


def test_what_this_process_ends_is_gone_while_the_database_is_away(
    known_words: Known[str], away: list[bool]
) -> None:
    away.append(True)
    with pytest.raises(OperationalError):
        known_words.ask_again()
    known_words.forget(lambda word: word == "word")
    assert known_words.get("name") is None


def test_an_outage_of_the_database_is_two_lines_in_the_log(
    known_words: Known[str],
    away: list[bool],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("apikeys.known.ASK_EVERY", 0.01)
    asked, ask = threading.Semaphore(0), known_words._ask

    def count(words: Mapping[str, str]) -> Mapping[str, str]:
        asked.release()
        return ask(words)

    monkeypatch.setattr(known_words, "_ask", count)
    away.append(True)
    known_words.start()
    for _ in range(5):
        assert asked.acquire(timeout=5)
    away.clear()
    for _ in range(5):
        assert asked.acquire(timeout=5)
    known_words.stop()
    told = [record.getMessage() for record in caplog.records if record.name == "apikeys.known"]
    assert told[0] == "The database does not say which words still hold: the connection was refused"
    assert told[1].startswith("The database says again which words hold after ")
    assert len(told) == 2


def test_an_answer_that_was_overtaken_is_not_remembered(minted: Minted) -> None:
    """The key is revoked in this process while the query for it is under way."""
    key, plaintext = minted
    overtaken = KnownKeys()

    def forget_after(execute: Callable[..., Any], *arguments: Any) -> Any:
        result = execute(*arguments)
        overtaken.forget_key(key)
        return result

    with connection.execute_wrapper(forget_after):
        assert look_up(overtaken, minted) == key
    assert overtaken.get(keys.digest(plaintext)) is None


@pytest.fixture
def watched() -> Iterator[None]:
    known_keys.start()
    yield
    known_keys.stop()


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("watched")
def test_a_key_in_use_stays_warm_for_longer_than_it_is_trusted(
    minted: Minted, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    call_with(minted[1])
    with django_assert_num_queries(0):
        for _ in range(15):
            time.sleep(TRUSTED / 10)
            call_with(minted[1])


def test_a_key_that_another_process_revokes_is_refused_within_a_second(server: Server) -> None:
    plaintext = server.create_key("revoked-elsewhere@example.com")
    assert status_of(server, plaintext) == 200
    server.shell(
        "from apikeys import keys; from apikeys.models import ApiKey;"
        f"keys.revoke(ApiKey.objects.get(prefix={plaintext[: keys.PREFIX_LENGTH]!r}))"
    )
    revoked_at = time.monotonic()
    while status_of(server, plaintext) != 401:
        assert time.monotonic() - revoked_at < TRUSTED


def status_of(server: Server, plaintext: str) -> int:
    headers = {"Authorization": f"Bearer {plaintext}"}
    return requests.get(f"{server.url}/v1/models", headers=headers, timeout=10).status_code
