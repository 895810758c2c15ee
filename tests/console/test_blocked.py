"""The page of blocked addresses."""

from __future__ import annotations

from django.test import Client

from apikeys import blocking
from apikeys.audit import SYSTEM
from apikeys.models import AuditEntry, BlockedAddress
from console.models import User

BLOCKED = "/console/blocked/"


def test_an_administrator_blocks_and_lifts(as_administrator: Client, administrator: User) -> None:
    asked = {"network": "203.0.113.0/24", "reason": "scans", "period": "24"}
    page = as_administrator.post(f"{BLOCKED}block/", asked, follow=True).content.decode()
    row = BlockedAddress.objects.get()
    assert (row.network, row.reason, row.blocked_by) == ("203.0.113.0/24", "scans", administrator)
    assert row.until is not None
    assert "203.0.113.0/24 is blocked" in page
    page = as_administrator.post(f"{BLOCKED}{row.pk}/lift/", follow=True).content.decode()
    assert "no longer blocked" in page
    assert not BlockedAddress.objects.exists()
    assert set(AuditEntry.objects.values_list("actor_name", flat=True)) == {administrator.email}


def test_nobody_locks_themselves_out(as_administrator: Client) -> None:
    for network in ("127.0.0.1", "127.0.0.0/8"):
        answer = as_administrator.post(f"{BLOCKED}block/", {"network": network, "period": "1"})
        assert answer.status_code == 400
        assert "You come from there yourself" in answer.content.decode()
    assert not BlockedAddress.objects.exists()


def test_what_is_no_network_is_told_at_the_field(as_administrator: Client) -> None:
    answer = as_administrator.post(f"{BLOCKED}block/", {"network": "203.0.113.7/24", "period": "1"})
    assert answer.status_code == 400
    assert "is no network" in answer.content.decode()


def test_what_the_site_itself_gave_as_the_reason_is_translated(as_administrator: Client) -> None:
    blocking.block("203.0.113.7", "100 wrong keys", None, by=SYSTEM)
    page = as_administrator.get(BLOCKED, headers={"accept-language": "zh-CN"}).content.decode()
    assert ">100 个错误密钥</td>" in page
    assert BlockedAddress.objects.get().reason == "100 wrong keys"
