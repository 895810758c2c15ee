"""People and their clients, for tests of pages without a browser."""

from __future__ import annotations

import pytest
from django.core.cache import cache
from django.test import Client

from console.models import User

PASSWORD = "correct horse battery"


@pytest.fixture(autouse=True)
def fresh_limits() -> None:
    """Each test starts with all its tries left."""
    cache.clear()


@pytest.fixture
def administrator(db: None) -> User:
    return User.objects.create_superuser("ada@example.com", PASSWORD)


@pytest.fixture
def person(db: None) -> User:
    return User.objects.create_user("grace@example.com", PASSWORD)


@pytest.fixture
def as_administrator(administrator: User) -> Client:
    return signed_in(administrator)


@pytest.fixture
def as_person(person: User) -> Client:
    return signed_in(person)


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client
