"""The documents keep up with the tree."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.environment import REPOSITORY

ROOMS = ("config", "apikeys", "serving", "console", "playground")


def modules() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", *ROOMS], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    paths = map(Path, listed.stdout.split())
    return [
        p
        for p in paths
        if p.suffix in {".py", ".c"} and p.stem not in {"__init__", "apps"} and "migrations" not in p.parts
    ]


def test_architecture_names_every_module() -> None:
    text = (REPOSITORY / "docs" / "architecture.md").read_text()
    missing = [str(path) for path in modules() if path.name not in text]
    assert missing == []


def test_settings_page_names_every_variable() -> None:
    source = (REPOSITORY / "config" / "settings.py").read_text()
    text = (REPOSITORY / "docs" / "settings.md").read_text()
    names = {
        part.split('"')[0]
        for call in ("env(", "env_int(", "env_list(", "env_secret(", "env_url(", "env_postgresql(")
        for part in source.split(call + '"')[1:]
    }
    assert {name for name in names if f"`{name}`" not in text} == set()


def test_dependencies_page_names_every_requirement() -> None:
    text = (REPOSITORY / "docs" / "dependencies.md").read_text()
    lines = [
        line
        for name in ("requirements.txt", "requirements-dev.txt")
        for line in (REPOSITORY / name).read_text().splitlines()
        if line and not line.startswith(("#", "-r"))
    ]
    names = [line.split("==")[0].split("[")[0] for line in lines]
    assert [line for line in lines if "==" not in line] == []
    assert [name for name in names if name not in text] == []


def test_security_page_names_tests_that_there_are() -> None:
    text = (REPOSITORY / "docs" / "security.md").read_text()
    named = re.findall(r"`(tests/[\w/]+\.py)`", text)
    assert named
    assert [path for path in named if not (REPOSITORY / path).exists()] == []
