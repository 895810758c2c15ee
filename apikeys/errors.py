"""The base of the one tree of errors that a caller is told about. Imports nothing of Django.

ServiceError
├── InvalidApiKey       401  who are you?
│   └── InvalidSignature     the key is right, but the request is not signed with its secret
│   ├── InvalidAccessToken       not this token
│   └── InvalidRefreshToken      not this one: sign in again
├── PermissionDenied    403  not you
├── RateLimited         429  not now
│   └── TokensLimited          not so many tokens
├── InsufficientQuota   429  not before a new day or month: a budget is spent
└── ...                      serving/errors.py goes on, and renders them all
"""

from __future__ import annotations

from collections.abc import Mapping

MAX_CHARS = 1000  # of a message: it may quote what was sent, and that may be megabytes


class ServiceError(Exception):
    """A request that is refused or has failed, in OpenAI's terms.

    ``status`` is the HTTP status; ``type`` and ``code`` are OpenAI's words for it; ``param`` names the
    field of the request that is to blame; ``headers`` go out with an HTTP answer.
    """

    status: int = 500
    type: str = "server_error"
    code: str | None = None

    def __init__(
        self, message: str, *, param: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        self.message = _clip(message)
        super().__init__(self.message)
        self.param = None if param is None else _clip(param)
        self.headers: dict[str, str] = dict(headers or {})


def _clip(text: str) -> str:
    return text if len(text) <= MAX_CHARS else text[: MAX_CHARS - 1] + "…"


class InvalidApiKey(ServiceError):
    """No key, or one that opens nothing: unknown, mistyped, expired or revoked."""

    status = 401
    type = "invalid_request_error"
    code = "invalid_api_key"

    CHALLENGE = 'Bearer realm="api"'

    def __init__(self, message: str) -> None:
        super().__init__(message, headers={"WWW-Authenticate": self.CHALLENGE})


class InvalidAccessToken(InvalidApiKey):
    """A JSON Web Token that opens nothing: forged, meant for others, expired, revoked."""

    code = "invalid_token"

    CHALLENGE = 'Bearer realm="api", error="invalid_token"'


class InvalidRefreshToken(InvalidApiKey):
    """A refresh token that is unknown or was used before."""

    code = "invalid_refresh_token"


class InvalidSignature(InvalidApiKey):
    """A right key whose request is not signed as it must be, or was sent before."""

    code = "invalid_signature"


class PermissionDenied(ServiceError):
    """A known caller who may not do this."""

    status = 403
    type = "invalid_request_error"
    code = "permission_denied"


class RateLimited(ServiceError):
    """A caller who must wait. The headers say how long."""

    status = 429
    type = "requests"
    code = "rate_limit_exceeded"


class TokensLimited(RateLimited):
    """A caller whose tokens of this minute are used up."""

    type = "tokens"


class InsufficientQuota(ServiceError):
    """A caller whose budget is spent, or does not reach for this request. Trying again does not help."""

    status = 429
    type = "insufficient_quota"
    code = "insufficient_quota"
