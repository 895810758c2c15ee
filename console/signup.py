"""Who may sign up: the SIGNUP setting, as a rule that can be asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from console.models import User


@dataclass(frozen=True, slots=True)
class SignupPolicy:
    """``domains`` is empty unless the mode is ``domain``. Invited people may always sign up."""

    mode: Literal["open", "invite", "domain"]
    domains: tuple[str, ...] = ()

    def admits(self, email: str) -> bool:
        """Whether somebody with this address may sign up without an invitation."""
        if self.mode == "domain":
            return email.rpartition("@")[2].lower() in self.domains
        return self.mode == "open"


def parse_policy(text: str) -> SignupPolicy:
    """Reads "open", "invite" or "domain:example.com,example.org". Raises ``ImproperlyConfigured``."""
    if text == "open":
        return SignupPolicy("open")
    if text == "invite":
        return SignupPolicy("invite")
    mode, _, listed = text.partition(":")
    domains = tuple(domain.strip().lower().lstrip("@") for domain in listed.split(",") if domain.strip())
    if mode == "domain" and domains:
        return SignupPolicy("domain", domains)
    raise ImproperlyConfigured(
        f"SIGNUP={text!r} is not understood. Set it to open, to invite, or to domain:example.com,example.org"
    )


def policy() -> SignupPolicy:
    return parse_policy(settings.SIGNUP)


def has_administrator() -> bool:
    """Until there is one, whoever signs up becomes it, whatever the policy says."""
    return User.objects.filter(is_superuser=True).exists()
