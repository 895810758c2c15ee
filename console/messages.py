"""Finds every text that wants a translation, in templates, Python and the API's schema, without gettext's
programs."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.utils.translation.template import templatize

from serving import docs

FUNCTIONS = {"_", "gettext", "gettext_lazy", "ngettext", "ngettext_lazy", "say"}
_STRING = r"u?('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")"
# What templatize makes of {% translate %} and {% blocktranslate %}.
_CALL = re.compile(rf"\b(?:_|n?gettext)\(\s*{_STRING}(?:\s*,\s*{_STRING})?", re.DOTALL)


@dataclass(frozen=True, slots=True, order=True)
class Message:
    text: str
    plural: str = ""


# Texts of Django's and allauth's whose own Chinese lags behind, or has other words than this site.
BORROWED = (
    Message("A user is already registered with this email address."),
    Message("The email address and/or password you specified are not correct."),
    Message("a minute ago", "%(count)s minutes ago"),
    Message("a second ago", "%(count)s seconds ago"),
    Message("an hour ago", "%(count)s hours ago"),
    Message("now"),
    Message(
        "This password is too short. It must contain at least %d character.",
        "This password is too short. It must contain at least %d characters.",
    ),
)


def source_files() -> Iterator[Path]:
    yield from sorted((settings.BASE_DIR / "templates").rglob("*.*"))
    for room in ("config", "console", "playground", "serving", "apikeys"):
        yield from sorted((settings.BASE_DIR / room).rglob("*.py"))


def messages_in(path: Path) -> set[Message]:
    text = path.read_text()
    if path.suffix == ".py":
        return set(_in_python(ast.parse(text)))
    return set(_in_template(templatize(text, origin=path.name)))


def all_messages() -> dict[Message, list[Path]]:
    """Every message, and the files that have it."""
    found: dict[Message, list[Path]] = {message: [Path("console/messages.py")] for message in BORROWED}
    for path in source_files():
        for message in messages_in(path):
            found.setdefault(message, []).append(path.relative_to(settings.BASE_DIR))
    for text in docs.texts():
        found.setdefault(Message(text), []).append(Path("serving/docs.py"))
    return found


def _in_python(tree: ast.AST) -> Iterator[Message]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS:
            wanted = 2 if node.func.id.startswith("n") else 1
            yield Message(*(ast.literal_eval(text) for text in node.args[:wanted]))


def _in_template(source: str) -> Iterator[Message]:
    for match in _CALL.finditer(source):
        yield Message(*(ast.literal_eval(text) for text in match.groups() if text))
