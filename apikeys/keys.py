"""How a key is made, changed, replaced and ended; and how it is written.

A key reads ``oag-`` + 8 characters that name it + 28 that are secret (166 bits) + a checksum of 6, all in
base 62. The checksum tells a typing mistake from a wrong key, and lets secret scanners be sure.
"""

from __future__ import annotations

import hashlib
import logging
import re
import secrets
import string
import zlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from apikeys import audit, known_keys, projects
from apikeys.addresses import is_inside
from apikeys.audit import SYSTEM, Actor
from apikeys.bounds import LIMIT_NAMES
from apikeys.errors import InvalidApiKey, PermissionDenied
from apikeys.models import ApiKey, Project
from apikeys.roles import may

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractUser

BRAND = "oag-"
NAME_LENGTH, SECRET_LENGTH, CHECKSUM_LENGTH = 8, 28, 6
PREFIX_LENGTH = len(BRAND) + NAME_LENGTH
KEY_LENGTH = PREFIX_LENGTH + SECRET_LENGTH + CHECKSUM_LENGTH

_BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
_KEY = re.compile(rf"{BRAND}[0-9A-Za-z]{{{NAME_LENGTH + SECRET_LENGTH + CHECKSUM_LENGTH}}}")

# What a person may change of a key, and what the audit log says of it.
SETTINGS = (
    "name",
    "notes",
    "scopes",
    "models",
    "networks",
    "signed",
    "caches_answers",
    "expires_at",
    *LIMIT_NAMES,
)

logger = logging.getLogger(__name__)


class KeyOptions(TypedDict, total=False):
    """What may be left out: then it is the default, or what it was."""

    notes: str
    scopes: list[str]
    models: list[str]
    networks: list[str]
    signed: bool
    caches_answers: bool
    requests_per_minute: int | None
    tokens_per_minute: int | None
    max_concurrency: int | None
    daily_tokens: int | None
    monthly_tokens: int | None
    daily_money: Decimal | None
    monthly_money: Decimal | None


class KeySettings(KeyOptions, total=False):
    """SETTINGS, typed."""

    name: str
    expires_at: datetime | None


def mint(
    user: AbstractUser,
    name: str,
    expires_at: datetime | None = None,
    project: Project | None = None,
    *,
    by: Actor = SYSTEM,
    **options: Unpack[KeyOptions],
) -> tuple[ApiKey, str]:
    """A new key of ``user`` and its text: the only time that anybody sees it. It belongs to ``project``,
    or to the user's personal one. Raises ``ValidationError``."""
    owned = {"owner_id": user.pk, "project": project or projects.personal_project(user)}
    key = ApiKey(**owned, name=name, expires_at=expires_at, **options)
    return key, _issue(key, by)


def edit(key: ApiKey, *, by: Actor, **settings: Unpack[KeySettings]) -> None:
    """Changes what ``settings`` say. Raises ``ValidationError``, which names the columns."""
    with transaction.atomic():
        before = _settings_of(ApiKey.objects.select_for_update().get(pk=key.pk))
        for field, value in settings.items():
            setattr(key, field, value)
        key.full_clean()
        key.save(update_fields=list(settings))
        _note("key.edit", key, by, before, _settings_of(key))


def rotate(key: ApiKey, grace: timedelta, *, by: Actor) -> tuple[ApiKey, str]:
    """A new key like ``key``, which goes on working for ``grace`` beside it; and the new key's text, which
    is seen only now. Raises ``ValidationError`` for a key that is replaced already, or has ended."""
    if key.status != "active" or key.replaced_by_id is not None:
        raise ValidationError(_("Only a key that is active and not yet replaced can be replaced."))
    with transaction.atomic():
        successor = ApiKey(owner_id=key.owner_id, project_id=key.project_id, **_settings_of(key))
        if key.expires_at is not None:
            successor.expires_at = timezone.now() + (key.expires_at - key.created_at)
        plaintext = _issue(successor, by)
        before = {"expires_at": key.expires_at, "replaced_by": key.replaced_by_id}
        ends = timezone.now() + grace
        key.expires_at = min(ends, key.expires_at or ends)
        key.replaced_by = successor
        key.save(update_fields=["expires_at", "replaced_by"])
        after = {"expires_at": key.expires_at, "replaced_by": successor.pk}
        _note("key.rotate", key, by, before, after)
    return successor, plaintext


def revoke(key: ApiKey, *, by: Actor = SYSTEM) -> None:
    """Ends ``key`` at once and for good. Revoking it again changes nothing."""
    with transaction.atomic():
        if ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=timezone.now()):
            logger.info("Key %s of user %s was revoked", key.prefix, key.owner_id)
            key.refresh_from_db(fields=["revoked_at"])
            _note("key.revoke", key, by, {"revoked_at": None}, {"revoked_at": key.revoked_at})
    known_keys.forget_key(key)
    key.refresh_from_db(fields=["revoked_at"])


def check(key: ApiKey, address: str) -> ApiKey:
    """``key``, as known_keys has it, if it opens anything at this moment for somebody at ``address``.
    Raises InvalidApiKey or PermissionDenied."""
    check_owner(key)
    if key.networks and not is_inside(address, key.allowed_networks):
        raise PermissionDenied(f"The API key {key.prefix}… may not be used from {address}.")
    return key


def check_owner(key: ApiKey) -> ApiKey:
    """The same, wherever its request comes from. Raises InvalidApiKey."""
    check_alive(key)
    if not (may(key.owner_role, "use") or key.owner.is_superuser):
        raise InvalidApiKey(f"Whoever minted the API key {key.prefix}… may not use its project any more.")
    return key


def check_alive(key: ApiKey) -> None:
    """Raises InvalidApiKey."""
    if key.status == "revoked":
        raise InvalidApiKey(f"The API key {key.prefix}… was revoked. Use another one.")
    if key.status == "expired":
        raise InvalidApiKey(f"The API key {key.prefix}… has expired. Use another one.")
    if not key.owner.is_active:
        raise InvalidApiKey(f"The account that owns the API key {key.prefix}… is deactivated.")


def digest(plaintext: str) -> str:
    """What is stored of a key. One plain SHA-256 is enough: nobody can guess 166 random bits."""
    return hashlib.sha256(plaintext.encode()).hexdigest()


def is_well_formed(plaintext: str) -> bool:
    """Whether ``plaintext`` was once a key of this format: right characters, right checksum."""
    if _KEY.fullmatch(plaintext) is None:
        return False
    body, checksum = plaintext[:-CHECKSUM_LENGTH], plaintext[-CHECKSUM_LENGTH:]
    return _checksum(body) == checksum


def _issue(key: ApiKey, by: Actor) -> str:
    """Gives ``key`` its secret and saves it. Returns its text."""
    body = BRAND + "".join(secrets.choice(_BASE62) for _char in range(NAME_LENGTH + SECRET_LENGTH))
    plaintext = body + _checksum(body)
    key.prefix, key.hash = plaintext[:PREFIX_LENGTH], digest(plaintext)
    key.full_clean()
    with transaction.atomic():
        key.save(force_insert=True)
        _note("key.mint", key, by, {}, _settings_of(key))
    logger.info("Key %s was minted for user %s", key.prefix, key.owner_id)
    return plaintext


def _settings_of(key: ApiKey) -> dict[str, Any]:
    return audit.snapshot(key, SETTINGS)


def _note(action: str, key: ApiKey, by: Actor, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    audit.record(by, action, key, project_id=key.project_id, before=before, after=after)


def _checksum(body: str) -> str:
    number = zlib.crc32(body.encode())
    digits = []
    for _place in range(CHECKSUM_LENGTH):
        number, digit = divmod(number, 62)
        digits.append(_BASE62[digit])
    return "".join(reversed(digits))
