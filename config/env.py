"""Reads typed settings from environment variables. Only `config.settings` calls these."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


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
