"""The page of the audit log."""

from __future__ import annotations

from decimal import Decimal

from django.test import Client

from apikeys import projects
from apikeys.audit import SYSTEM
from console.models import User


def test_what_was_and_what_is_stand_side_by_side(as_administrator: Client, administrator: User) -> None:
    project = projects.create("Robots", administrator, by=SYSTEM)
    projects.edit(project, by=SYSTEM, tier="high", keeps_content=True, monthly_money=Decimal("250"))
    page = " ".join(as_administrator.get("/console/audit/").content.decode().split())
    assert '<span class="muted">tier</span> <del>normal</del> → high<' in page
    assert '<span class="muted">keeps_content</span> <del>no</del> → yes<' in page
    assert '<span class="muted">monthly_money</span> 250<' in page
