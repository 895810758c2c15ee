"""The page of the audit log."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from django.test import Client
from django.utils import timezone

from apikeys import blocking, projects
from apikeys.audit import SYSTEM
from console.models import User


def test_what_was_and_what_is_stand_side_by_side(as_administrator: Client, administrator: User) -> None:
    project = projects.create("Robots", administrator, by=SYSTEM)
    projects.edit(project, by=SYSTEM, tier="high", keeps_content=True, monthly_money=Decimal("250"))
    page = " ".join(as_administrator.get("/console/audit/").content.decode().split())
    assert '<span class="muted">tier</span> <del>Normal</del> → High<' in page
    assert '<span class="muted">keeps content</span> <del>no</del> → yes<' in page
    assert '<span class="muted">money per month</span> 250<' in page


def test_values_are_shown_as_everywhere_else(as_administrator: Client, administrator: User) -> None:
    until = timezone.now() + timedelta(hours=1)
    blocking.block("203.0.113.7", "100 wrong keys", until, by=SYSTEM)
    project = projects.create("7 wrong keys", administrator, by=SYSTEM)
    projects.edit(project, by=SYSTEM, tokens_per_minute=200_000)
    page = as_administrator.get("/console/audit/", headers={"accept-language": "zh-CN"}).content.decode()
    assert f"</span>  {until:%Y-%m-%d %H:%M:%S} UTC</div>" in page
    assert "</span>  100 个错误密钥</div>" in page
    assert "</span>  7 wrong keys</div>" in page
    assert '<span class="muted">每分钟 token 数</span>  200,000</div>' in page
    assert ">系统</td>" in page
