"""What requests say and are answered, where their project keeps it: encrypted before it leaves the process's
memory, so that neither journal, database nor backup can be read without CONTENT_KEY.

Fernet (AES-128 in CBC mode, HMAC-SHA256) under a key derived from each of CONTENT_KEY. The first seals, all
of them open: a new one in front replaces a key without losing what the old one sealed.
"""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, dataclass
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

LONGEST = 256 * 1024  # characters of what is sealed; the rest of a longer answer or question is not kept


@dataclass(frozen=True, slots=True)
class Content:
    """``asked``: JSON, as the endpoint got it: messages, prompts or inputs. ``answered``: one text for each
    choice; none where no text came."""

    asked: Any
    answered: list[str]


class ContentLost(Exception):
    """It was sealed with a key that CONTENT_KEY does not have any more."""


def seal(content: Content) -> str:
    return _cipher().encrypt(json.dumps(asdict(_cut(content))).encode()).decode()


def unseal(sealed: str) -> Content:
    """Raises ``ContentLost``."""
    try:
        return Content(**json.loads(_cipher().decrypt(sealed)))
    except InvalidToken:
        raise ContentLost from None


def _cut(content: Content) -> Content:
    """Both together within LONGEST: what was asked comes first, as text where it is too long to be JSON."""
    asked = json.dumps(content.asked, ensure_ascii=False)
    if len(asked) > LONGEST:
        return Content(asked[:LONGEST] + "…", [])
    left = LONGEST - len(asked)
    answered = []
    for text in content.answered:
        answered.append(text if len(text) <= left else text[:left] + "…")
        left = max(0, left - len(text))
    return Content(content.asked, answered)


def _cipher() -> MultiFernet:
    return MultiFernet([_fernet(secret) for secret in settings.CONTENT_KEYS])


def _fernet(secret: str) -> Fernet:
    derived = HKDF(hashes.SHA256(), length=32, salt=None, info=b"content of requests")
    return Fernet(base64.urlsafe_b64encode(derived.derive(secret.encode())))
