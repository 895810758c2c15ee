"""Who is first with a key, and how long that is remembered."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from serving.idempotency import claims
from serving.models import KeptAnswer
from serving.tasks import prune_kept_answers


def age(row: KeptAnswer, by: timedelta) -> None:
    KeptAnswer.objects.filter(pk=row.pk).update(created_at=timezone.now() - by)


@pytest.mark.django_db(transaction=True)
def test_of_many_at_once_one_is_first() -> None:
    def claim(_: int) -> tuple[int, bool]:
        try:
            row, first = claims.claim("key:1", "a", "f")
            return row.pk, first
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        claimed = list(pool.map(claim, range(24)))
    assert sum(first for _, first in claimed) == 1
    assert len({pk for pk, _ in claimed}) == 1


@pytest.mark.django_db
def test_after_a_day_a_key_is_as_new() -> None:
    row, _ = claims.claim("key:1", "a", "f")
    claims.keep(row.pk, 200, {}, b"x")
    age(row, claims.KEPT_FOR - timedelta(minutes=1))
    assert claims.claim("key:1", "a", "g")[1] is False
    age(row, claims.KEPT_FOR)
    again, first = claims.claim("key:1", "a", "g")
    assert first
    assert (again.status, again.fingerprint) == (None, "g")


@pytest.mark.django_db
def test_what_is_forgotten_can_be_claimed_again() -> None:
    row, _ = claims.claim("key:1", "a", "f")
    claims.forget(row.pk)
    assert claims.claim("key:1", "a", "f")[1] is True


@pytest.mark.django_db
def test_a_sign_of_life_keeps_a_claim_from_being_lost() -> None:
    row, _ = claims.claim("key:1", "a", "f")
    claims.lose(row.pk)
    row.refresh_from_db()
    assert row.alive_until <= timezone.now()
    claims.stay_alive(row.pk)
    row.refresh_from_db()
    assert row.alive_until > timezone.now()


@pytest.mark.django_db
def test_old_answers_and_too_many_of_one_caller_are_pruned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "KEPT_PER_CALLER", 3)
    old, _ = claims.claim("key:2", "old", "f")
    age(old, claims.KEPT_FOR + timedelta(seconds=1))
    for owner, count in (("key:1", 5), ("key:2", 3)):
        for number in range(count):
            claims.claim(owner, str(number), "f")
    assert prune_kept_answers() == 3
    kept = set(KeptAnswer.objects.values_list("owner", "key"))
    assert kept == {(owner, key) for owner, keys in (("key:1", "234"), ("key:2", "012")) for key in keys}
    assert prune_kept_answers() == 0
