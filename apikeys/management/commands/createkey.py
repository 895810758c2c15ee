"""`manage.py createkey --email E --name N [--create-user]`: prints a new key, and nothing else, on stdout."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractUser
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.core.validators import validate_email
from django.db import connection

from apikeys import keys
from apikeys.audit import Actor
from apikeys.models import NAME_LIMIT

BY = Actor(None, "createkey", "command")


class Command(BaseCommand):
    help = "Mint an API key for a person and print it."
    requires_system_checks = ()  # they would load the pages and the models, for seconds

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--email", required=True, help="whose key it is")
        parser.add_argument("--name", required=True, help="what the key is for")
        parser.add_argument(
            "--create-user",
            action="store_true",
            help="make the account if there is none (it has no password)",
        )

    def handle(self, *, email: str, name: str, create_user: bool, **options: Any) -> None:
        if not 1 <= len(name) <= NAME_LIMIT:
            raise CommandError(f"Give the key a name of 1 to {NAME_LIMIT} characters.")
        if not connection.introspection.table_names():  # nobody has served this DATA_DIR yet
            call_command("migrate", verbosity=0, interactive=False)
        key, plaintext = keys.mint(self._user(email, create_user), name, by=BY)
        self.stderr.write(f"Minted key “{key.name}” for {email}. It is shown only now:")
        self.stdout.write(plaintext)

    def _user(self, email: str, create: bool) -> AbstractUser:
        users = get_user_model().objects
        user = users.filter(email__iexact=email).first()
        if user is None and create:
            self._check_address(email)
            user = users.create_user(email)
            self.stderr.write(f"Made an account for {email}.")
        if user is None:
            raise CommandError(f"Nobody here has the address {email}. Add --create-user to make the account.")
        return user

    def _check_address(self, email: str) -> None:
        try:
            validate_email(email)
        except ValidationError:
            raise CommandError(f"{email} is not an email address.") from None
