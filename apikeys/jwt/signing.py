"""The keys that access tokens are signed with: made, changed, published, and thrown away when nothing that
they have signed can still hold.

A new key is published for ANNOUNCED before it signs, so that whoever keeps a copy of ``jwks.json`` for no
longer than that has it by then. An old one stays published until its last token has expired.
"""

from __future__ import annotations

import base64
import json
import logging
import secrets
from datetime import timedelta
from typing import Any, cast

import jwt
from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from django.conf import settings
from django.utils import timezone
from jwt.algorithms import ECAlgorithm

from apikeys.models import SigningKey

ALGORITHM = "ES256"
TYPE = "at+jwt"  # RFC 9068's: an access token, not whatever else these keys may come to sign
TOKEN_LIFETIME = timedelta(minutes=10)
ANNOUNCED = timedelta(minutes=10)
ROTATED_EVERY = timedelta(days=30)
LEEWAY = timedelta(minutes=1)  # for a token that was being signed as its key was replaced

PrivateKey = ec.EllipticCurvePrivateKey

logger = logging.getLogger(__name__)


def sign(claims: dict[str, Any]) -> str:
    """A token with these claims, signed by the key whose turn it is."""
    key, private = _current() or _make()
    return jwt.encode(claims, private, ALGORITHM, headers={"kid": key.kid, "typ": TYPE})


def published() -> tuple[str, ...]:
    """The public keys, the oldest first: each a JWK, as JSON."""
    return tuple(SigningKey.objects.values_list("public", flat=True))


def rotate() -> SigningKey:
    """A new key, whose turn comes when it has been announced. Those of no use any more are deleted."""
    key, _ = _make()
    discard_old()
    return key


def replace_all() -> SigningKey:
    """For a key that has leaked: a new one that signs at once. All tokens that there are, are refused."""
    SigningKey.objects.all().delete()
    return _make()[0]


def rotate_if_due() -> bool:
    """Whether the newest key was old enough to be followed by another. The first token makes the first."""
    discard_old()
    newest = SigningKey.objects.last()
    if newest is None or newest.created_at > timezone.now() - ROTATED_EVERY:
        return False
    rotate()
    return True


def discard_old() -> None:
    """Deletes the keys whose successor has been signing for longer than a token lives."""
    over = timezone.now() - ANNOUNCED - TOKEN_LIFETIME - LEEWAY
    successor = SigningKey.objects.filter(created_at__lt=over).last()
    if successor is not None:
        SigningKey.objects.filter(created_at__lt=successor.created_at).delete()


def _current() -> tuple[SigningKey, PrivateKey] | None:
    """The newest key that has been announced for long enough; else the oldest. A key that SECRET_KEY does
    not open does not count."""
    opened = [(key, private) for key in SigningKey.objects.all() if (private := _open(key)) is not None]
    announced = [pair for pair in opened if pair[0].created_at <= timezone.now() - ANNOUNCED]
    return announced[-1] if announced else next(iter(opened), None)


def _make() -> tuple[SigningKey, PrivateKey]:
    private = ec.generate_private_key(ec.SECP256R1())
    kid = secrets.token_urlsafe(12)
    public = json.loads(ECAlgorithm.to_jwk(private.public_key()))
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    key = SigningKey.objects.create(
        kid=kid,
        public=json.dumps({**public, "use": "sig", "alg": ALGORITHM, "kid": kid}),
        private=_cipher().encrypt(pem).decode(),
    )
    logger.info("Signing key %s was made", kid)
    return key, private


def _open(key: SigningKey) -> PrivateKey | None:
    try:
        pem = _cipher().decrypt(key.private.encode())
    except InvalidToken:
        logger.warning("SECRET_KEY does not open signing key %s: has it changed?", key.kid)
        return None
    return cast(PrivateKey, load_pem_private_key(pem, password=None))


def _cipher() -> Fernet:
    """Whoever reads the database alone cannot sign: what opens the keys comes from SECRET_KEY."""
    derived = HKDF(hashes.SHA256(), length=32, salt=None, info=b"signing keys of access tokens")
    return Fernet(base64.urlsafe_b64encode(derived.derive(settings.SECRET_KEY.encode())))
