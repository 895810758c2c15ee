"""A site that has been in use for a month, for pictures of its pages (screenshots.py).

Runs inside `manage.py shell`, for it needs the site's settings.
"""

from __future__ import annotations

import json
import random
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.template.loader import render_to_string
from django.utils import timezone, translation

from apikeys import blocking, contents, keys, people, project_invitations, projects
from apikeys.audit import SYSTEM, Actor
from apikeys.jwt import sessions
from apikeys.models import ApiKey, Price, Project
from apikeys.tasks import roll_up_usage
from apikeys.usage import recording
from apikeys.usage.event import UsageEvent
from console import invitations
from console.models import User
from serving.batches.models import Batch

OTHERS = (
    "li.wei@example.com",
    "maximiliane.von-der-schulenburg@machine-learning.research.example.com",
    "o@example.com",
)
MODEL = "smollm2-135m-instruct"
REQUESTS = 1500
SHOWN_REQUEST = "req-0193f0c2a7d84b6e9f51c03de8a7b214"


def fill(administrator: str, member: str, newcomer: str, password: str) -> str:
    """The addresses of pages that only this data has, as JSON; three people, by their email addresses."""
    random.seed(1)
    ada = User.objects.create_superuser(administrator, password)
    grace, *others = (User.objects.create_user(email, password) for email in (member, *OTHERS))
    User.objects.create_user(newcomer, password)
    by = Actor(ada.pk, administrator, "console", "192.0.2.17")
    project = _make_projects(ada, [grace, *others], by)
    issued = _mint_keys(ada, grace, project, by)
    _set_prices(ada)
    _use(ada, grace, project, issued)
    _make_batches(issued[0])
    sessions.open_for(
        ada, projects.personal_project(ada), ["inference", "manage:read"], "backup/1.0 (nightly)"
    )
    sessions.open_with_key(issued[2], issued[2].scopes, "python-requests/2.34.2")
    _administer(ada, grace, by)
    _invitation, token = project_invitations.invite(project, newcomer, "member", by=by)
    return json.dumps(
        {
            "project": f"/console/projects/{project.pk}/",
            "key": f"/console/keys/{issued[1].pk}/",
            "project-keys": f"/console/keys/?project={project.pk}",
            "project-audit": f"/console/audit/?project={project.pk}",
            "project-usage": f"/console/usage/?range=30d&project={project.pk}",
            "request": f"/console/usage/requests/{SHOWN_REQUEST}/",
            "person-limits": f"/console/people/{grace.pk}/limits/",
            "join": f"/console/join/{token}/",
        }
    )


def render(templates: list[str]) -> str:
    """What these templates are in each of the browser's languages, as JSON."""
    pages: dict[str, dict[str, str]] = {}
    for locale, language in (("en-US", "en"), ("zh-CN", "zh-hans")):
        with translation.override(language):
            pages[locale] = {name: render_to_string(name, {"minutes": 12}) for name in templates}
    return json.dumps(pages)


def _make_projects(ada: User, others: list[User], by: Actor) -> Project:
    project = projects.create("Robots of the warehouse", ada, by=by)
    projects.create("客户服务助手", ada, by=by)
    projects.edit(
        project,
        by=by,
        keeps_content=True,
        tier="high",
        requests_per_minute=600,
        tokens_per_minute=200_000,
        monthly_money=Decimal("250"),
    )
    for user, role in zip(others, ("admin", "member", "viewer", "owner"), strict=True):
        projects.add_member(project, user, role, by=by)  # type: ignore[arg-type]
    project_invitations.invite(project, "somebody.new@example.com", "viewer", by=by)
    return project


def _mint_keys(ada: User, grace: User, project: Project, by: Actor) -> list[ApiKey]:
    now = timezone.now()
    laptop, _ = keys.mint(ada, "laptop", by=by)
    forklift, _ = keys.mint(
        ada,
        "Forklift 7 in hall B, night shift",
        now + timedelta(days=80),
        project,
        by=by,
        models=["open-autoglm-7b"],
        networks=["10.20.0.0/16", "2001:db8:7::/48"],
        notes="Belongs to the logistics team.",
        requests_per_minute=120,
        daily_tokens=2_000_000,
    )
    nightly, _ = keys.mint(grace, "夜间评测", now + timedelta(days=3), project, by=by)
    old, _ = keys.mint(ada, "First try", by=by)
    expired, _ = keys.mint(ada, "Workshop", now + timedelta(days=1), by=by)
    keys.revoke(old, by=by)
    ApiKey.objects.filter(pk=expired.pk).update(expires_at=now - timedelta(days=12))
    ApiKey.objects.filter(pk=laptop.pk).update(last_used_ip="192.0.2.17", last_used_at=now)
    return [laptop, forklift, nightly]


def _set_prices(ada: User) -> None:
    """Into the past too, where ``prices.set_price`` does not reach."""
    for model, rate, days in (
        (MODEL, ("0.15", "0.6"), -60),
        (MODEL, ("0.2", "0.8"), -6),
        ("qwen3-32b", ("2.5", "10"), 6),
    ):
        Price.objects.create(
            model=model,
            input=Decimal(rate[0]),
            output=Decimal(rate[1]),
            valid_from=timezone.now() + timedelta(days=days),
            created_by=ada,
        )


def _use(ada: User, grace: User, project: Project, issued: list[ApiKey]) -> None:
    now = timezone.now()
    for number in range(REQUESTS):
        recent = number % 40 == 0
        age = timedelta(hours=random.random()) if recent else timedelta(days=30 * random.random() ** 1.5)
        _record(random.choice([*issued, None]), ada, now - age)
    said = contents.seal(
        contents.Content(
            [
                {"role": "system", "content": "You drive a forklift."},
                {"role": "user", "content": "请把第三排货架上的箱子移到出口。\nThen report what you did."},
            ],
            ["好的。I moved the box from row three to the exit, and the aisle is free again."],
        )
    )
    _record(issued[1], ada, now - timedelta(minutes=2), request_id=SHOWN_REQUEST, status=200, content=said)
    recording.flush()
    roll_up_usage()


def _record(key: ApiKey | None, ada: User, at: datetime, **changes: Any) -> None:
    tokens, took = random.randint(5, 2000), int(random.lognormvariate(6.5, 1)) + 20
    status = changes.get("status") or (200 if random.random() < 0.97 else random.choice([429, 499, 500]))
    event: dict[str, Any] = {
        "request_id": f"req-{int(at.timestamp() * 1000):012x}{random.getrandbits(80):020x}",
        "user_id": key.owner_id if key else ada.pk,
        "key_id": key.pk if key else None,
        "project_id": key.project_id if key else projects.personal_project(ada).pk,
        "source": "api" if key else "playground",
        "endpoint": "/v1/chat/completions",
        "model": MODEL,
        "prompt_tokens": tokens,
        "completion_tokens": tokens // 3 if status != 429 else 0,
        "status": status,
        "finish_reason": "stop" if status == 200 else "",
        "error_code": {429: "rate_limit_exceeded", 500: "server_error"}.get(status, ""),
        "started_at": at,
        "ttft_ms": took // 9,
        "duration_ms": took,
        "stream": True,
        "cost_nanos": tokens * 400,
        "queue_ms": 4,
        "prefill_ms": took // 10,
        "decode_ms": took * 8 // 10,
        "compute_us": took * 300,
    }
    recording.record(UsageEvent(**{**event, **changes}))


def _make_batches(key: ApiKey) -> None:
    now = timezone.now()
    missing = {"line": 7, "message": "Missing required parameter: 'model'.", "code": "", "param": "model"}
    batches: list[dict[str, Any]] = [
        {"status": "failed", "errors": [missing]},
        {"status": "completed", "total": 12_000, "completed": 11_996, "failed": 4},
        {"status": "cancelled", "total": 1, "completed": 1},
        {"status": "expired", "total": 250_000, "completed": 180_250, "failed": 69_750},
        {"status": "in_progress", "total": 1200, "completed": 340, "failed": 2},
        {"status": "validating"},
    ]
    for number, fields in enumerate(batches):
        row: dict[str, Any] = {
            "project_id": key.project_id,
            "key": key,
            "endpoint": "/v1/chat/completions",
            "input_file_id": "file-1",
            "created_at": now - timedelta(hours=31 - 6 * number),
            "expires_at": now + timedelta(hours=20),
            # Nobody else's to take: the server that is looked at would end what has no such file.
            "leased_until": now + timedelta(hours=20),
            "runner": "showcase",
            **fields,
        }
        if row["status"] in ("completed", "expired"):
            row |= {"output_file_id": "file-2", "error_file_id": "file-3"}
        Batch.objects.create(**row)


def _administer(ada: User, grace: User, by: Actor) -> None:
    now = timezone.now()
    people.set_limits(grace, {"daily_tokens": 500_000, "max_concurrency": 4}, by=by)
    blocking.block("198.51.100.0/24", "Scans for open proxies, reported twice", None, by=by)
    blocking.block("203.0.113.7", "100 wrong keys", now + timedelta(minutes=40), by=SYSTEM)
    invited, _ = invitations.invite("late@example.com", ada)
    type(invited).objects.filter(pk=invited.pk).update(expires_at=now - timedelta(days=2))
    invitations.invite("margaret.hamilton@example.com", ada)
