"""Files that callers keep here, and the batches that are made of them. Rows are changed in ``files.py``,
``lifecycle.py`` and ``queue.py``, nowhere else."""

from __future__ import annotations

import secrets
from typing import Literal

from django.db import models
from django.utils import timezone

from apikeys.models import ApiKey, Project
from serving.kept_json import KeptJSON

BatchStatus = Literal[
    "validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"
]
OPEN: tuple[BatchStatus, ...] = ("validating", "in_progress", "finalizing", "cancelling")


def new_file_id() -> str:
    return f"file-{secrets.token_hex(16)}"


def new_batch_id() -> str:
    return f"batch_{secrets.token_hex(16)}"


class StoredFile(models.Model):
    """A file of one project; its bytes lie under DATA_DIR/files. ``purpose`` is "batch" for what was
    uploaded, "batch_output" for what a batch wrote."""

    id = models.CharField(primary_key=True, max_length=64, default=new_file_id)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="+")
    filename = models.CharField(max_length=255)
    purpose = models.CharField(max_length=16)
    bytes = models.PositiveBigIntegerField()
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        indexes = (models.Index(fields=("project", "created_at"), name="stored_file_of_project"),)

    def __str__(self) -> str:
        return self.id


class Batch(models.Model):
    """Requests that are answered when there is time, within a day, in the name of ``key``.

    ``runner`` may work on it until ``leased_until``; who is that, only ``queue.Lease`` needs to know. The
    counts are of lines; ``completed`` and ``failed`` are those of its ``BatchLine`` rows while it is open.
    """

    id = models.CharField(primary_key=True, max_length=64, default=new_batch_id)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="+")
    key = models.ForeignKey(ApiKey, on_delete=models.CASCADE, related_name="+")
    endpoint = models.CharField(max_length=64)
    input_file_id = models.CharField(max_length=64)
    output_file_id = models.CharField(max_length=64, blank=True)
    error_file_id = models.CharField(max_length=64, blank=True)
    metadata = models.JSONField(default=dict)
    errors = KeptJSON(default=list)
    status = models.CharField(max_length=16, default="validating")
    total = models.PositiveIntegerField(default=0)
    completed = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField(default=0)
    runner = models.CharField(max_length=32, blank=True)
    leased_until = models.DateTimeField(null=True)
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    in_progress_at = models.DateTimeField(null=True)
    finalizing_at = models.DateTimeField(null=True)
    completed_at = models.DateTimeField(null=True)
    failed_at = models.DateTimeField(null=True)
    expired_at = models.DateTimeField(null=True)
    cancelling_at = models.DateTimeField(null=True)
    cancelled_at = models.DateTimeField(null=True)

    class Meta:
        indexes = (
            models.Index(fields=("project", "created_at"), name="batch_of_project"),
            models.Index(fields=("created_at",), condition=models.Q(status__in=OPEN), name="batch_open"),
        )

    def __str__(self) -> str:
        return self.id

    @property
    def is_open(self) -> bool:
        return self.status in OPEN

    @property
    def is_over(self) -> bool:
        """Whether no more of its lines are to be asked."""
        return self.status == "cancelling" or self.expires_at <= timezone.now()

    @property
    def ended_lines(self) -> int:
        return self.completed + self.failed


class BatchLine(models.Model):
    """The answer to one line: at most one, whatever died on the way. ``text`` is the line of the output file,
    or of the error file if it ``failed``. Gone when those are written."""

    batch = models.ForeignKey(Batch, on_delete=models.CASCADE, related_name="lines")
    number = models.PositiveIntegerField()  # in the input file, from 1
    failed = models.BooleanField()
    text = models.TextField()

    class Meta:
        constraints = (models.UniqueConstraint(fields=("batch", "number"), name="batch_line_once"),)

    def __str__(self) -> str:
        return f"{self.batch_id} line {self.number}"
