"""`manage.py updatemessages`: brings the translation files up to date with the sources."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polib
from django.conf import settings
from django.core.management.base import BaseCommand

from console.messages import Message, all_messages


class Command(BaseCommand):
    help = "Adds new texts to locale/*/LC_MESSAGES/django.po, empty, and removes those that are gone."

    def handle(self, *args: Any, **options: Any) -> None:
        messages = all_messages()
        for path in sorted(settings.BASE_DIR.glob("locale/*/LC_MESSAGES/django.po")):
            update(path, messages)
            self.stdout.write(f"{path.relative_to(settings.BASE_DIR)}: {len(messages)} texts")


def update(path: Path, messages: dict[Message, list[Path]]) -> None:
    """Keeps the translations there are; the file is sorted by where a text is first used."""
    old = {Message(entry.msgid, entry.msgid_plural): entry for entry in polib.pofile(str(path))}
    file = polib.POFile(wrapwidth=100)
    file.metadata = polib.pofile(str(path)).metadata
    for message, paths in sorted(messages.items(), key=lambda item: (str(item[1][0]), item[0])):
        entry = old.get(message) or polib.POEntry(msgid=message.text, msgid_plural=message.plural)
        entry.occurrences = [(str(used), "") for used in paths]
        entry.flags = [flag for flag in entry.flags if flag != "python-format"]
        file.append(entry)
    file.save(str(path))
