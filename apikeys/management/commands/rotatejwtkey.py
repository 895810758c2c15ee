"""`manage.py rotatejwtkey [--leaked]`: a new key to sign access tokens with."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from apikeys.jwt import signing


class Command(BaseCommand):
    help = "Make a new key to sign access tokens with. Celery does so every 30 days."
    requires_system_checks = ()  # they would load the pages and the models, for seconds

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--leaked",
            action="store_true",
            help="the old key is in wrong hands: refuse all that it has signed, from now on",
        )

    def handle(self, *, leaked: bool, **options: Any) -> None:
        key = signing.replace_all() if leaked else signing.rotate()
        when = "now" if leaked else f"in {signing.ANNOUNCED.total_seconds() / 60:.0f} minutes"
        self.stdout.write(f"Key {key.kid} is published. It begins to sign {when}.")
