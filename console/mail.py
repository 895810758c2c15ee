"""Whether mail leaves this machine."""

from __future__ import annotations

from django.conf import settings


def has_mail_server() -> bool:
    """Without one, mails are written to the server's log."""
    return not settings.EMAIL_BACKEND.endswith("console.EmailBackend")
