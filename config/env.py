"""Reads typed settings from environment variables. Only `config.settings` calls these."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit


def env(name: str, default: str = "") -> str:
    return os.environ.get(name, "").strip() or default


def env_int(name: str, default: int, at_least: int = 1, at_most: int = 2**31 - 1) -> int:
    text = env(name, str(default))
    if not text.isdecimal() or not at_least <= int(text) <= at_most:
        raise SystemExit(
            f"{name}={text!r} is not a whole number from {at_least} to {at_most}. Set it to one, or unset it."
        )
    return int(text)


def env_choice(name: str, default: str, choices: tuple[str, ...]) -> str:
    choice = env(name, default)
    if choice not in choices:
        raise SystemExit(
            f"{name}={choice!r} is not one of: {', '.join(choices)}. Set it to one, or unset it."
        )
    return choice


def env_list(name: str) -> list[str]:
    return [part.strip() for part in env(name).split(",") if part.strip()]


def env_url(name: str, *schemes: str) -> str:
    """The address of a service, empty when there is none."""
    url = env(name)
    if url:
        _split_url(name, url, schemes)
    return url


def env_postgresql(name: str) -> dict[str, Any] | None:
    """Django's settings for a database from ``postgresql://USER:PASSWORD@HOST:PORT/DATABASE?OPTION=VALUE``;
    the options are libpq's. None when there is none."""
    url = env(name)
    if not url:
        return None
    parts = _split_url(name, url, ("postgresql", "postgres"))
    if not parts.path.strip("/"):
        raise SystemExit(f"{name} names no database. Put it at the end: postgresql://HOST/DATABASE")
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.strip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": unquote(parts.hostname or ""),
        "PORT": str(parts.port or ""),
        "OPTIONS": {"connect_timeout": "5", **dict(parse_qsl(parts.query))},
    }


def _split_url(name: str, url: str, schemes: tuple[str, ...]) -> SplitResult:
    """Says nothing of ``url`` itself where it is wrong: it may hold a password."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises ValueError when it is no number
    except ValueError:
        raise SystemExit(
            f"{name} cannot be read as a URL. Write special characters of a password as %40 and the like."
        ) from None
    if parts.scheme not in schemes:
        raise SystemExit(f"{name} does not start with {' or '.join(f'{one}://' for one in schemes)}.")
    return parts


def make_folder(name: str, folder: Path) -> None:
    """Make the folder that setting ``name`` names, and see that files can be made in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".writable").touch()
        (folder / ".writable").unlink()
    except OSError as error:
        raise SystemExit(
            f"{folder} cannot be written to ({error.strerror}). Name another folder: {name}=... make run"
        ) from None


def env_secret(name: str, file: Path) -> str:
    """The secret from the environment, else the one kept in ``file``, made on first use so that
    sessions and hashes outlive a restart."""
    if value := env(name):
        return value
    try:
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as handle:
            handle.write(secrets.token_urlsafe(48))
    except FileExistsError:
        pass
    return file.read_text()
