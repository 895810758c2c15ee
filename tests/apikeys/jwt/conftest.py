"""Sessions and their tokens to test with."""

from __future__ import annotations

import pytest

from apikeys.jwt import sessions
from apikeys.jwt.sessions import Tokens
from apikeys.models import ApiKey
from apikeys.projects import personal_project
from apikeys.scopes import SCOPES
from console.models import User


@pytest.fixture
def signed_in(user: User) -> Tokens:
    """Those of somebody who signed in."""
    return sessions.open_for(user, personal_project(user), SCOPES, "tests")


@pytest.fixture
def exchanged(minted: tuple[ApiKey, str]) -> Tokens:
    """Those that came from a key."""
    key, _ = minted
    return sessions.open_with_key(key, key.scopes, "tests")
