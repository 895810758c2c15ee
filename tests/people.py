"""People who can sign in. Their password is hashed once: that takes a quarter of a second, on purpose."""

from __future__ import annotations

from functools import cache

from django.contrib.auth.hashers import make_password

from console.models import User

PASSWORD = "correct horse battery"


@cache
def _hash() -> str:
    return make_password(PASSWORD)


def add_person(email: str) -> User:
    return User.objects.create(email=email, password=_hash())


def add_administrator(email: str) -> User:
    return User.objects.create(email=email, password=_hash(), is_staff=True, is_superuser=True)
