"""The audit log: who changed what, when and from where. Entries are added and never changed.

Each entry's hash covers what it says and the hash of the entry before it, so none can be altered, or taken
out of the middle, without breaking the chain. Whoever notes the last hash elsewhere can also see whether
entries are missing at the end. The database itself refuses to update or delete entries.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal

from django.contrib.contenttypes.models import ContentType
from django.db import models, transaction

from apikeys.models import AuditEntry

FIRST = "0" * 64  # what the first entry says of the one before it

_HASHED = (
    "actor_id", "actor_name", "address", "source", "action", "subject", "project_id", "before", "after",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Actor:
    """Who changes something, and from where. ``name`` outlives the account."""

    user_id: int | None
    name: str
    source: Literal["console", "api", "command", "system"]
    address: str = ""


SYSTEM = Actor(None, "system", "system")


@dataclass(frozen=True, slots=True)
class Verdict:
    """``broken_at``: the first entry that does not follow from those before it. None: all do."""

    entries: int
    last_hash: str
    broken_at: int | None


def record(
    actor: Actor,
    action: str,
    subject: models.Model,
    *,
    project_id: int | None,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    """Adds an entry, in the transaction of the change itself. What is the same before and after is left
    out; secrets must not be in either."""
    old, new = _changes(before or {}, after or {})
    with transaction.atomic():
        _lock()
        last = AuditEntry.objects.order_by("-pk").first()
        entry = AuditEntry(
            at=datetime.now(UTC),
            actor_id=actor.user_id,
            actor_name=actor.name,
            address=actor.address,
            source=actor.source,
            action=action,
            subject=f"{subject._meta.model_name}:{subject.pk}",
            project_id=project_id,
            before=old,
            after=new,
            previous_hash=last.hash if last else FIRST,
        )
        entry.hash = hash_of(entry)
        entry.save(force_insert=True)


def snapshot(instance: models.Model, fields: tuple[str, ...]) -> dict[str, Any]:
    """What ``instance`` says now, as ``record`` takes it."""
    return {field: getattr(instance, field) for field in fields}


def verify() -> Verdict:
    """Recomputes the whole chain, entry by entry."""
    entries, last_hash = 0, FIRST
    for entry in AuditEntry.objects.order_by("pk").iterator(chunk_size=1000):
        if entry.previous_hash != last_hash or entry.hash != hash_of(entry):
            return Verdict(entries, last_hash, entry.pk)
        entries, last_hash = entries + 1, entry.hash
    return Verdict(entries, last_hash, None)


def hash_of(entry: AuditEntry) -> str:
    said = {name: getattr(entry, name) for name in _HASHED}
    said["at"] = entry.at.astimezone(UTC).isoformat(timespec="microseconds")
    text = json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(f"{entry.previous_hash}\n{text}".encode()).hexdigest()


def _lock() -> None:
    """Of two changes at once, one waits for the other. SQLite lets one writer in at a time; elsewhere this
    row, which always exists, is the lock."""
    ContentType.objects.select_for_update().get(app_label="apikeys", model="auditentry")


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    old = {name: _plain(value) for name, value in before.items()}
    new = {name: _plain(value) for name, value in after.items()}
    return _unlike(old, new), _unlike(new, old)


def _unlike(said: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Beside nothing, what is not set goes without saying."""
    if not other:
        return {name: value for name, value in said.items() if value not in (None, "", [], False)}
    return {name: value for name, value in said.items() if name not in other or other[name] != value}


def _plain(value: Any) -> Any:
    """As JSON has it, the same in every database."""
    match value:
        case datetime():
            return value.astimezone(UTC).isoformat(timespec="seconds")
        case Decimal():
            return format(value.normalize(), "f")
        case list() | tuple():
            return [_plain(item) for item in value]
        case _:
            return value
