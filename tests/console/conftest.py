"""People and their clients, for tests of pages without a browser."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
from django.core.cache import cache
from django.test import Client

from console.models import User
from tests.people import add_administrator, add_person


@pytest.fixture(autouse=True)
def fresh_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test starts with all its tries left, and gets no others: django-ratelimit counts in fixed windows,
    the next of which may begin in the middle of a test."""
    cache.clear()
    now = time.time()
    monkeypatch.setattr("django_ratelimit.core.time", SimpleNamespace(time=lambda: now))


@pytest.fixture
def administrator(db: None) -> User:
    return add_administrator("ada@example.com")


@pytest.fixture
def person(db: None) -> User:
    return add_person("grace@example.com")


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
