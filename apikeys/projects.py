"""How projects come to be."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractBaseUser
from django.db import transaction
from django.db.models.signals import post_save

from apikeys.models import Membership, Project


def personal_project(user: AbstractBaseUser) -> Project:
    """The project that came with the account of ``user``."""
    return Project.objects.get(personal_of_id=user.pk)


def connect_signals() -> None:
    """For AppConfig.ready."""
    post_save.connect(_account_made, sender=get_user_model(), dispatch_uid="personal_project")


def _account_made(instance: AbstractBaseUser, created: bool, raw: bool = False, **_: Any) -> None:
    """``raw``: a fixture is loaded, which has the project too."""
    if created and not raw:
        with transaction.atomic():
            project = Project.objects.create(personal_of_id=instance.pk)
            Membership.objects.create(project=project, user_id=instance.pk, role="owner")
