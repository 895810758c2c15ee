"""How accounts come to be: who may sign up, and who becomes the administrator."""

from __future__ import annotations

from allauth.account.adapter import DefaultAccountAdapter
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest

from console import invitations
from console.forms.accounts import SignupForm
from console.models import Invitation, User
from console.signup import has_administrator, policy

INVITATION_TOKEN = "invitation_token"  # noqa: S105  (the name of a session entry)


def invitation_of(request: HttpRequest) -> Invitation | None:
    """The open invitation whose link this visitor has followed."""
    token = request.session.get(INVITATION_TOKEN)
    return invitations.find(token) if token else None


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """allauth's adapter with this site's rules."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return policy().mode != "invite" or invitation_of(request) is not None or not has_administrator()

    def save_user(self, request: HttpRequest, user: User, form: SignupForm, commit: bool = True) -> User:
        with transaction.atomic():
            # Of two first sign-ups at once, one must wait for the other. SQLite lets one writer in at a
            # time; elsewhere this row, which always exists, is the lock.
            ContentType.objects.select_for_update().get(app_label="console", model="user")
            user.is_superuser = user.is_staff = not has_administrator()
            if form.invitation is not None and not invitations.accept(form.invitation):
                raise PermissionDenied("This invitation was used already.")
            saved: User = super().save_user(request, user, form, commit)
        request.session.pop(INVITATION_TOKEN, None)
        return saved
