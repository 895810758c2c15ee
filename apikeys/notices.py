"""Mails to whom it concerns, each once: a key will expire, a budget is nearly or wholly spent."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from smtplib import SMTPException

from django.conf import settings
from django.core.mail import send_mail
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.translation import gettext as _

from apikeys.limits.budgets import PERIODS, Period
from apikeys.limits.spending import usage_of
from apikeys.models import ApiKey, LimitFields, Notice, Project, UserLimits

SHARES = (80, 100)  # percent of a budget

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Budgeted:
    """An owner with limits; ``mails`` are those who are told."""

    subject: str
    name: str
    limits: LimitFields
    mails: tuple[str, ...]


def send_all(now: datetime | None = None) -> int:
    """Sends what is due and was not sent before. How many mails those were."""
    now = now or timezone.now()
    keys = sum(_tell_of_expiry(key) for key in _expiring(now))
    return keys + sum(_tell_of_budgets(budgeted, now) for budgeted in _budgeted())


def _expiring(now: datetime) -> Iterable[ApiKey]:
    soon = now + timedelta(days=settings.KEY_EXPIRY_NOTICE_DAYS)
    keys = ApiKey.objects.select_related("owner").filter(revoked_at=None, owner__is_active=True)
    return keys.filter(expires_at__gt=now, expires_at__lte=soon)


def _tell_of_expiry(key: ApiKey) -> bool:
    moment = str(key.expires_at)
    notice = Notice(subject=f"key:{key.pk}", matter="expiry", period=moment)
    title = _("The API key “%(name)s” expires on %(day)s") % {"name": key.name, "day": moment[:10]}
    return _send(notice, title, "apikeys/key_expires.txt", {"key": key}, (key.owner.email,))


def _budgeted() -> Iterator[Budgeted]:
    keys = ApiKey.objects.select_related("owner").filter(revoked_at=None, owner__is_active=True)
    for key in keys.exclude(**_NO_BUDGET):
        yield Budgeted(f"key:{key.pk}", key.name, key, (key.owner.email,))
    for project in Project.objects.exclude(**_NO_BUDGET).prefetch_related("memberships__user"):
        managers = (each.user for each in project.memberships.all() if each.role in ("owner", "admin"))
        mails = tuple(user.email for user in managers if user.is_active)
        yield Budgeted(f"project:{project.pk}", str(project), project, mails)
    for limits in UserLimits.objects.exclude(**_NO_BUDGET).select_related("user"):
        user = limits.user
        yield Budgeted(f"user:{user.pk}", user.email, limits, (user.email,))


_NO_BUDGET = {f"{period}_{kind}": None for period in ("daily", "monthly") for kind in ("tokens", "money")}


def _tell_of_budgets(budgeted: Budgeted, now: datetime) -> int:
    return sum(_tell_of_period(budgeted, period, now) for period in PERIODS)


def _tell_of_period(budgeted: Budgeted, period: Period, now: datetime) -> int:
    tokens, money = (getattr(budgeted.limits, f"{period}_{kind}") for kind in ("tokens", "money"))
    if tokens is None and money is None:
        return 0
    used = usage_of(budgeted.subject, period, now)
    spent = (("tokens", used.prompt_tokens + used.completion_tokens, tokens), ("money", used.cost, money))
    return sum(
        _tell_of_share(budgeted, period, kind, int(100 * amount / limit) if limit else 100, now)
        for kind, amount, limit in spent
        if limit is not None
    )


def _tell_of_share(budgeted: Budgeted, period: Period, kind: str, share: int, now: datetime) -> int:
    """Of the highest share that is reached; whoever hears of 100 % need not hear of 80 % after it."""
    reached = [step for step in SHARES if share >= step]
    if not reached:
        return 0
    day = now.astimezone(UTC).date().isoformat()
    notice = Notice(
        subject=budgeted.subject,
        matter=f"{period}_{kind} {reached[-1]}",
        period=day if period == "daily" else day[:7],
    )
    title = _("%(share)d %% of a budget is spent: %(name)s") % {"share": reached[-1], "name": budgeted.name}
    context = {
        "name": budgeted.name,
        "period": period,
        "kind": kind,
        "share": share,
        "spent": reached[-1] == 100,
    }
    return _send(notice, title, "apikeys/budget_spent.txt", context, budgeted.mails)


def _send(
    notice: Notice, title: str, template: str, context: dict[str, object], mails: tuple[str, ...]
) -> bool:
    """Whether a mail went out now. Noted before it is sent, so that two processes send one; one that a mail
    server did not take is tried again at the next run."""
    if not mails:
        return False
    noted, is_new = Notice.objects.get_or_create(
        subject=notice.subject, matter=notice.matter, period=notice.period
    )
    if not is_new:
        return False
    try:
        send_mail(
            title, render_to_string(template, {**context, "site": settings.SITE_URL}), None, list(mails)
        )
    except (SMTPException, OSError) as error:
        noted.delete()
        logger.warning("A notice could not be mailed (%s): %s", notice, error)
        return False
    return True
