"""How a key is made, how it is written, and how it ends.

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
from datetime import datetime
from typing import TYPE_CHECKING

from django.utils import timezone

from apikeys import known_keys, projects
from apikeys.models import ApiKey, Project

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractUser

BRAND = "oag-"
NAME_LENGTH, SECRET_LENGTH, CHECKSUM_LENGTH = 8, 28, 6
PREFIX_LENGTH = len(BRAND) + NAME_LENGTH
KEY_LENGTH = PREFIX_LENGTH + SECRET_LENGTH + CHECKSUM_LENGTH

_BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
_KEY = re.compile(rf"{BRAND}[0-9A-Za-z]{{{NAME_LENGTH + SECRET_LENGTH + CHECKSUM_LENGTH}}}")

logger = logging.getLogger(__name__)


def mint(
    user: AbstractUser, name: str, expires_at: datetime | None = None, project: Project | None = None
) -> tuple[ApiKey, str]:
    """A new key of ``user`` and its text: the only time that anybody sees it. It belongs to ``project``,
    or to the user's personal one."""
    body = BRAND + "".join(secrets.choice(_BASE62) for _ in range(NAME_LENGTH + SECRET_LENGTH))
    plaintext = body + _checksum(body)
    key = ApiKey.objects.create(
        owner_id=user.pk,
        project=project or projects.personal_project(user),
        name=name,
        prefix=plaintext[:PREFIX_LENGTH],
        hash=digest(plaintext),
        expires_at=expires_at,
    )
    logger.info("Key %s was minted for user %s", key.prefix, user.pk)
    return key, plaintext


def revoke(key: ApiKey) -> None:
    """Ends ``key`` at once and for good. Revoking it again changes nothing."""
    if ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=timezone.now()):
        logger.info("Key %s of user %s was revoked", key.prefix, key.owner_id)
    known_keys.forget_key(key)
    key.refresh_from_db(fields=["revoked_at"])


def digest(plaintext: str) -> str:
    """What is stored of a key. One plain SHA-256 is enough: nobody can guess 166 random bits."""
    return hashlib.sha256(plaintext.encode()).hexdigest()


def is_well_formed(plaintext: str) -> bool:
    """Whether ``plaintext`` was once a key of this format: right characters, right checksum."""
    if _KEY.fullmatch(plaintext) is None:
        return False
    body, checksum = plaintext[:-CHECKSUM_LENGTH], plaintext[-CHECKSUM_LENGTH:]
    return _checksum(body) == checksum


def _checksum(body: str) -> str:
    number = zlib.crc32(body.encode())
    digits = []
    for _ in range(CHECKSUM_LENGTH):
        number, digit = divmod(number, 62)
        digits.append(_BASE62[digit])
    return "".join(reversed(digits))
