"""How a worker calls the API for one line of a batch, in the name of a key that it does not have.

It signs what it asks with the site's secret: the key's hash, the request's id, the address and the body. The
signature opens that one request and nothing else, for a minute. Whether the key still may is asked as ever.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import Any, Self

from django.core import signing

from apikeys.errors import InvalidApiKey

SCHEME = "Batch"
SALT = "apikeys.line_calls"
MAX_AGE = 60  # seconds from signing to arrival


@dataclass(frozen=True, slots=True)
class LineCall:
    """``prefix`` and ``hash`` are the key's."""

    prefix: str
    hash: str
    request_id: str
    path: str
    body: bytes

    def sign(self) -> str:
        """The ``Authorization`` header of this call."""
        return f"{SCHEME} {signing.dumps(self._signed(), salt=SALT)}"

    def _signed(self) -> dict[str, str]:
        return {**asdict(self), "body": hashlib.sha256(self.body).hexdigest()}

    @staticmethod
    def request_id_in(authorization: str) -> str | None:
        """The request's id, if the site has signed the header; what it opens, ``read`` says."""
        try:
            signed: dict[str, str] = _load(authorization)
        except signing.BadSignature:
            return None
        return signed["request_id"]

    @classmethod
    def read(cls, authorization: str, path: str, body: bytes) -> Self:
        """The call that the header signs, if that is the one being made. Raises InvalidApiKey."""
        try:
            signed = _load(authorization)
        except signing.BadSignature:
            raise InvalidApiKey("This signature of a batch's line is not the site's, or too old.") from None
        call = cls(**{**signed, "body": body})
        if call.path != path or call._signed() != signed:
            raise InvalidApiKey("This signature is for another line of a batch.")
        return call


def is_line_call(authorization: str) -> bool:
    return authorization.startswith(f"{SCHEME} ")


def _load(authorization: str) -> Any:
    return signing.loads(authorization.partition(" ")[2], salt=SALT, max_age=MAX_AGE)
