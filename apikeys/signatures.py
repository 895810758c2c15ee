"""Signed requests: for keys that ask for it, the key alone opens nothing.

In the headers of Standard Webhooks: ``webhook-id`` is a nonce of the client's, ``webhook-timestamp`` the
seconds since 1970, ``webhook-signature`` ``v1,`` and the base64 of an HMAC-SHA256 over

    ID.TIMESTAMP.METHOD.PATH.SHA256-OF-THE-BODY        (the path with its query, the digest in hexadecimal)

The secret is not stored: it is derived from SECRET_KEY, so whoever reads the database cannot sign. A nonce
is used up in the database, the same for all processes and across restarts; that one insert is the price of
a signed request.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import time
from datetime import timedelta

from django.db import IntegrityError, transaction
from django.http import HttpRequest
from django.utils import timezone
from django.utils.crypto import salted_hmac

from apikeys.errors import InvalidSignature
from apikeys.models import ApiKey, UsedNonce

TOLERANCE = 300  # seconds that the two clocks may differ
BRAND = "whsec_"

_NONCE = re.compile(r"[A-Za-z0-9_-]{16,64}")


def secret_of(key: ApiKey) -> str:
    """What a client signs with. Shown once, as the key is."""
    value = f"{key.prefix}:{key.hash}"
    return (
        BRAND
        + base64.b64encode(salted_hmac("apikeys.signatures", value, algorithm="sha256").digest()).decode()
    )


def sign(secret: str, nonce: str, timestamp: str, method: str, path: str, body: bytes) -> str:
    """The value of ``webhook-signature``."""
    said = f"{nonce}.{timestamp}.{method}.{path}.{hashlib.sha256(body).hexdigest()}"
    key = base64.b64decode(secret.removeprefix(BRAND))
    return "v1," + base64.b64encode(hmac.digest(key, said.encode(), "sha256")).decode()


def check(key: ApiKey, request: HttpRequest) -> str:
    """The nonce of a request that ``key`` has signed just now. Asks nobody. Raises InvalidSignature."""
    nonce, timestamp, signature = (
        request.headers.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature")
    )
    if not (nonce and timestamp and signature):
        raise InvalidSignature(
            f"The API key {key.prefix}… signs its requests: send webhook-id, webhook-timestamp and "
            "webhook-signature."
        )
    if not _NONCE.fullmatch(nonce):
        raise InvalidSignature("webhook-id must have 16 to 64 letters, digits, - or _.")
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) < 16):
        raise InvalidSignature("webhook-timestamp must be whole seconds since 1970.")
    if abs(time.time() - int(timestamp)) > TOLERANCE:
        raise InvalidSignature(
            f"webhook-timestamp is more than {TOLERANCE} seconds from this server's clock."
        )
    method, path = request.method or "", request.get_full_path()
    right = sign(secret_of(key), nonce, timestamp, method, path, request.body)
    if not any(hmac.compare_digest(right.encode(), one.encode()) for one in signature.split()):
        raise InvalidSignature("webhook-signature does not fit this request.")
    return nonce


def use_up(key: ApiKey, nonce: str) -> None:
    """Not for the event loop. Raises InvalidSignature for a nonce that was used before."""
    try:
        with transaction.atomic():
            UsedNonce.objects.create(name=f"{key.pk}:{nonce}")
    except IntegrityError:
        raise InvalidSignature(
            "This webhook-id was used before: each request needs one of its own."
        ) from None


def forget_old() -> int:
    """Deletes nonces whose signatures are good no longer. How many those were."""
    deleted, _ = UsedNonce.objects.filter(
        used_at__lt=timezone.now() - timedelta(seconds=3 * TOLERANCE)
    ).delete()
    return deleted
