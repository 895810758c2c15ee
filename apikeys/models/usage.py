"""What was used, request by request, and by minute, hour and day."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Literal

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from apikeys.models.keys import ApiKey
from apikeys.models.prices import from_nanos
from apikeys.models.projects import Project

Width = Literal["minute", "hour", "day", "week"]
WIDTHS: dict[Width, timedelta] = {
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(weeks=1),
}
CLIENT_LEFT = 499  # nginx's status for a client that did not wait for the answer
NOT_ROLLED_UP = models.Q(rolled_up=False)


class UsageRecord(models.Model):
    """One request of a known caller, however it ended.

    Usage outlives people and keys, and a request that ends just after its owner was deleted must still
    be written: so the database does not check these references, and deleting leaves them standing.
    """

    request_id = models.CharField(_("request"), max_length=64, unique=True)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="+",
    )
    key = models.ForeignKey(
        ApiKey, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, null=True, related_name="+"
    )
    project = models.ForeignKey(
        Project, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    source = models.CharField(_("source"), max_length=16)
    endpoint = models.CharField(_("endpoint"), max_length=64)
    model = models.CharField(_("model"), max_length=200)
    prompt_tokens = models.PositiveIntegerField(_("tokens in"))
    completion_tokens = models.PositiveIntegerField(_("tokens out"))
    status = models.PositiveSmallIntegerField(_("status"))
    finish_reason = models.CharField(_("finish reason"), max_length=32, blank=True)
    error_code = models.CharField(_("error"), max_length=64, blank=True)
    started_at = models.DateTimeField(_("started"), db_index=True)
    ttft_ms = models.PositiveIntegerField(_("time to first token (ms)"), null=True)
    duration_ms = models.PositiveIntegerField(_("duration (ms)"))
    stream = models.BooleanField(_("streamed"))
    cost_nanos = models.PositiveBigIntegerField(_("cost (billionths)"), default=0)
    queue_ms = models.PositiveIntegerField(_("queue (ms)"), null=True)
    prefill_ms = models.PositiveIntegerField(_("prefill (ms)"), null=True)
    decode_ms = models.PositiveIntegerField(_("decode (ms)"), null=True)
    compute_us = models.PositiveBigIntegerField(_("compute (µs)"), default=0)
    cached = models.BooleanField(_("from the cache"), default=False)
    rolled_up = models.BooleanField(default=False, editable=False)

    class Meta:
        verbose_name = _("usage record")
        verbose_name_plural = _("usage records")
        indexes = (
            models.Index(fields=("user", "started_at"), name="usage_user_started"),
            models.Index(fields=("project", "started_at"), name="usage_project_started"),
            models.Index(fields=("key", "started_at"), name="usage_key_started"),
            # Small at any size of the table: what the next rollup takes, and what dashboards add to rollups
            # (of a person, a project, a key; of everybody).
            models.Index(fields=("user", "started_at"), condition=NOT_ROLLED_UP, name="usage_fresh_of_user"),
            models.Index(
                fields=("project", "started_at"), condition=NOT_ROLLED_UP, name="usage_fresh_of_project"
            ),
            models.Index(fields=("key", "started_at"), condition=NOT_ROLLED_UP, name="usage_fresh_of_key"),
            models.Index(fields=("started_at",), condition=NOT_ROLLED_UP, name="usage_fresh"),
        )

    def __str__(self) -> str:
        return self.request_id

    @property
    def cost(self) -> Decimal:
        """In units of the currency."""
        return from_nanos(self.cost_nanos)

    @property
    def compute_seconds(self) -> float:
        return self.compute_us / 1e6


SUMS = (
    "requests", "errors", "prompt_tokens", "completion_tokens", "duration_ms", "cost_nanos", "compute_us",
)  # fmt: skip


class UsageRollup(models.Model):
    """What one caller used of one model in one minute, hour, day or week (UTC, from Monday); where ``user``
    is NULL, what all of them used together. Rows are made in ``usage/rollups.py``, which counts every record
    once in each of the eight.

    ``durations`` and ``ttfts`` are sketches, of successful requests, in milliseconds.
    """

    id = models.UUIDField(primary_key=True, editable=False)
    width = models.CharField(max_length=6)
    start = models.DateTimeField()
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        null=True,
        related_name="+",
    )
    key = models.ForeignKey(
        ApiKey, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, null=True, related_name="+"
    )
    project = models.ForeignKey(
        Project, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, null=True, related_name="+"
    )
    source = models.CharField(max_length=16)
    model = models.CharField(max_length=200)
    requests = models.PositiveBigIntegerField(default=0)
    errors = models.PositiveBigIntegerField(default=0)
    prompt_tokens = models.PositiveBigIntegerField(default=0)
    completion_tokens = models.PositiveBigIntegerField(default=0)
    duration_ms = models.PositiveBigIntegerField(default=0)
    cost_nanos = models.PositiveBigIntegerField(default=0)
    compute_us = models.PositiveBigIntegerField(default=0)
    durations = models.BinaryField(default=b"")
    ttfts = models.BinaryField(default=b"")

    class Meta:
        verbose_name = _("usage rollup")
        verbose_name_plural = _("usage rollups")
        indexes = (
            models.Index(fields=("user", "width", "start"), name="rollup_of_user"),
            models.Index(fields=("project", "width", "start"), name="rollup_of_project"),
            models.Index(fields=("key", "width", "start"), name="rollup_of_key"),
            # For everybody's keys and projects, which are many: with the sums, so that the rows are not read.
            models.Index(fields=("width", "start", "user", "key", "project", *SUMS), name="rollup_of_time"),
        )

    def __str__(self) -> str:
        return f"{self.width} {self.start:%Y-%m-%d %H:%M} user {self.user_id}"
