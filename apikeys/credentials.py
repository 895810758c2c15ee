"""What somebody comes with: an API key or an access token, and whether it holds at this moment."""

from __future__ import annotations

from dataclasses import dataclass

from apikeys import blocking, keys, known_keys
from apikeys.errors import InvalidApiKey
from apikeys.jwt import known as known_tokens
from apikeys.jwt import sessions
from apikeys.jwt.claims import Claims, looks_like_token
from apikeys.models import ApiKey, TokenSession


@dataclass(frozen=True, slots=True)
class Credential:
    """``holder`` is what may do something: a key, or the session of somebody who signed in. ``token`` is
    what an access token says; one that came from a key has that key for its holder."""

    holder: ApiKey | TokenSession
    token: Claims | None = None

    @property
    def signing_key(self) -> ApiKey | None:
        """The key with whose secret requests must be signed, if they must."""
        return self.holder if isinstance(self.holder, ApiKey) and self.holder.signed else None

    @property
    def scopes(self) -> frozenset[str]:
        """A token may do what its holder may at this moment, as far as its own scopes go."""
        holder = self.holder
        whole = frozenset(holder.scopes) if isinstance(holder, ApiKey) else sessions.scopes_of(holder)
        return whole if self.token is None else whole & self.token.scopes


def recall(secret: str, address: str) -> Credential | None:
    """What ``secret`` is, if that is known. Asks nobody. Raises InvalidApiKey or PermissionDenied."""
    if not looks_like_token(secret):
        key = known_keys.get(keys.digest(secret))
        return None if key is None else Credential(keys.check(key, address))
    known = known_tokens.get(secret)
    if known is None:
        return None
    session, token = known
    sessions.check(session, token)
    if session.key is None:
        return Credential(session, token)
    key = known_keys.get(session.key.hash)
    return None if key is None else Credential(keys.check(key, address), token)


def look_up(secret: str, address: str) -> Credential:
    """The same, asked from the database. Raises InvalidApiKey or PermissionDenied."""
    if not looks_like_token(secret):
        return Credential(keys.check(_look_up_key(secret, address), address))
    session, token = known_tokens.look_up(secret)
    sessions.check(session, token)
    if session.key is None:
        return Credential(session, token)
    key = known_keys.look_up(session.key.prefix, session.key.hash)
    if key is None:
        raise InvalidApiKey("The API key that this access token comes from is gone.")
    return Credential(keys.check(key, address), token)


def _look_up_key(plaintext: str, address: str) -> ApiKey:
    if not keys.is_well_formed(plaintext):
        blocking.note_failure(address)
        raise InvalidApiKey(
            "Incorrect API key provided: it looks mistyped or cut off. "
            f"A key starts with {keys.BRAND} and has {keys.KEY_LENGTH} characters."
        )
    key = known_keys.look_up(plaintext[: keys.PREFIX_LENGTH], keys.digest(plaintext))
    if key is None:
        blocking.note_failure(address)
        raise InvalidApiKey("Incorrect API key provided: this server knows no such key.")
    return key
