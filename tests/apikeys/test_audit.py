"""The audit log says who changed what, and cannot be altered without a trace."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from importlib import import_module
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from apikeys import audit, keys
from apikeys.audit import Actor
from apikeys.models import ApiKey, AuditEntry
from console.models import User
from tests.server import Server

Minted = tuple[ApiKey, str]
pytestmark = pytest.mark.django_db
ADA = Actor(1, "ada@example.com", "console", "203.0.113.7")
_protection = import_module("apikeys.migrations.0005_append_only_audit")


def verifyaudit(*arguments: str) -> str:
    stdout = StringIO()
    call_command("verifyaudit", *arguments, stdout=stdout)
    return stdout.getvalue()


def unprotected() -> None:
    """As whoever owns the database can have it, until the test ends."""
    _protection.unprotect(None, connection.schema_editor())


def test_an_entry_says_who_when_from_where_before_and_after(minted: Minted) -> None:
    key, _ = minted
    keys.edit(key, by=ADA, name="desk", daily_money=Decimal("2.50"))
    entry = AuditEntry.objects.first()
    assert entry is not None
    assert (entry.actor_id, entry.actor_name, entry.address) == (1, "ada@example.com", "203.0.113.7")
    assert (entry.action, entry.subject, entry.project_id) == ("key.edit", f"apikey:{key.pk}", key.project_id)
    assert entry.before == {"name": "laptop", "daily_money": None}
    assert entry.after == {"name": "desk", "daily_money": "2.5"}
    assert abs(timezone.now() - entry.at) < timedelta(minutes=1)


def test_everything_that_happens_to_a_key_is_logged(minted: Minted) -> None:
    key, _ = minted
    keys.edit(key, by=ADA, notes="for the build")
    keys.rotate(key, timedelta(hours=1), by=ADA)
    keys.revoke(key, by=ADA)
    actions = [entry.action for entry in AuditEntry.objects.order_by("pk")]
    assert actions == ["key.mint", "key.edit", "key.mint", "key.rotate", "key.revoke"]


def test_no_entry_has_a_secret(minted: Minted) -> None:
    key, plaintext = minted
    _, successor = keys.rotate(key, timedelta(hours=1), by=ADA)
    said = " ".join(str(row) for row in AuditEntry.objects.values_list())
    for secret in (plaintext, successor):
        assert secret[keys.PREFIX_LENGTH :] not in said
        assert keys.digest(secret) not in said


def test_a_change_that_fails_leaves_no_entry(minted: Minted) -> None:
    key, _ = minted

    def revoke_and_fail() -> None:
        with transaction.atomic():
            keys.revoke(key, by=ADA)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        revoke_and_fail()
    assert AuditEntry.objects.count() == 1
    assert ApiKey.objects.get().revoked_at is None


def test_the_chain_holds(user: User) -> None:
    for number in range(3):
        keys.mint(user, f"key {number}", timezone.now() + timedelta(days=1))
    verdict = audit.verify()
    assert (verdict.entries, verdict.broken_at) == (3, None)
    assert verdict.last_hash in verifyaudit("--expect", verdict.last_hash)


@pytest.mark.parametrize("change", [{"actor_name": "eve"}, {"after": {}}, {"hash": "0" * 64}])
def test_an_altered_entry_breaks_the_chain(user: User, change: dict[str, object]) -> None:
    for number in range(3):
        keys.mint(user, f"key {number}")
    unprotected()
    second = AuditEntry.objects.order_by("pk")[1]
    AuditEntry.objects.filter(pk=second.pk).update(**change)
    with pytest.raises(CommandError, match=f"broken at entry {second.pk}"):
        verifyaudit()


def test_entries_taken_out_are_missed(user: User) -> None:
    for number in range(3):
        keys.mint(user, f"key {number}")
    unprotected()
    first, second, last = AuditEntry.objects.order_by("pk")
    last.delete()
    assert "2 entries" in verifyaudit()
    with pytest.raises(CommandError, match="missing at the end"):
        verifyaudit("--expect", last.hash)
    first.delete()
    with pytest.raises(CommandError, match=f"broken at entry {second.pk}"):
        verifyaudit()


def test_the_database_refuses_to_forget(minted: Minted) -> None:
    unprotected()
    _protection.protect(None, connection.schema_editor())
    for forget in (lambda: AuditEntry.objects.update(actor_name="eve"), AuditEntry.objects.all().delete):
        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
            forget()


def test_a_new_installation_is_protected(server: Server) -> None:
    """The tests' own database is not, quite: see conftest."""
    server.create_key("audited@example.com")
    refused = server.shell(
        "from apikeys.models import AuditEntry\n"
        "from django.db import DatabaseError\n"
        "try: AuditEntry.objects.all().delete()\n"
        "except DatabaseError as error: print(error)"
    )
    assert "append-only" in refused
