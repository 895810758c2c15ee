"""`manage.py verifyaudit [--expect HASH]`: whether the audit log is whole."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apikeys import audit
from apikeys.models import AuditEntry


class Command(BaseCommand):
    help = "Recompute the chain of the audit log, and print its last hash."
    requires_system_checks = ()  # they would load the pages and the models, for seconds

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--expect", metavar="HASH", help="a hash noted earlier: it must still be there")

    def handle(self, *, expect: str | None, **options: Any) -> None:
        verdict = audit.verify()
        if verdict.broken_at is not None:
            raise CommandError(f"The chain is broken at entry {verdict.broken_at}.")
        if expect and expect != audit.FIRST and not AuditEntry.objects.filter(hash=expect).exists():
            raise CommandError(f"No entry has the hash {expect}: entries are missing at the end.")
        self.stdout.write(f"{verdict.entries} entries, unbroken. Last hash: {verdict.last_hash}")
