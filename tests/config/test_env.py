from __future__ import annotations

import pytest

from config.env import env_postgresql, env_url


def test_a_database_url_is_taken_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://ada:p%40ss%2Fword@db.example:5433/site?sslmode=require")
    assert env_postgresql("DATABASE_URL") == {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "site",
        "USER": "ada",
        "PASSWORD": "p@ss/word",
        "HOST": "db.example",
        "PORT": "5433",
        "OPTIONS": {"connect_timeout": "5", "sslmode": "require"},
    }


def test_what_a_database_url_leaves_out_is_left_to_libpq(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgres:///site?host=%2Frun%2Fpostgresql")
    database = env_postgresql("DATABASE_URL")
    assert database is not None
    assert (database["HOST"], database["PORT"], database["USER"]) == ("", "", "")
    assert database["OPTIONS"]["host"] == "/run/postgresql"


def test_without_urls_there_are_no_services(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", " ")
    monkeypatch.delenv("REDIS_URL", raising=False)
    assert env_postgresql("DATABASE_URL") is None
    assert env_url("REDIS_URL", "redis", "rediss") == ""


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("mysql://ada:secret@db/site", "does not start with postgresql:// or postgres://"),
        ("postgresql://ada:secret@db", "names no database"),
        ("postgresql://ada:secret@db:port/site", "cannot be read as a URL"),
    ],
)
def test_a_wrong_database_url_is_one_line_without_the_password(
    monkeypatch: pytest.MonkeyPatch, url: str, complaint: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    with pytest.raises(SystemExit) as stopped:
        env_postgresql("DATABASE_URL")
    assert str(stopped.value).startswith("DATABASE_URL")
    assert complaint in str(stopped.value)
    assert "secret" not in str(stopped.value)


def test_a_wrong_redis_url_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "localhost:6379")
    with pytest.raises(SystemExit, match="REDIS_URL does not start with redis:// or rediss://"):
        env_url("REDIS_URL", "redis", "rediss")
