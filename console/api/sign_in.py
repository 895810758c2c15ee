"""Signing in with email and password by a program: the rules and limits of the sign-in page."""

from __future__ import annotations

from allauth.account.utils import has_verified_email
from django.conf import settings
from django.contrib.auth import authenticate
from django.http import HttpRequest

from apikeys.errors import InvalidApiKey, PermissionDenied, RateLimited
from console.models import User
from console.throttle import login_limits


class WrongPassword(InvalidApiKey):
    """Says not which of the two is wrong: that would tell who has an account."""

    code = "wrong_password"


def sign_in(request: HttpRequest, email: str, password: str) -> User:
    """Raises RateLimited, WrongPassword, PermissionDenied."""
    limits = login_limits(lambda group, request: email.strip().lower())
    wait = max([limit.seconds_to_wait(request) for limit in limits])
    if wait:
        raise RateLimited(
            f"Too many tries to sign in. Please try again in {wait}s.", headers={"Retry-After": str(wait)}
        )
    user = authenticate(request, email=email, password=password)
    if user is None:
        raise WrongPassword("The email address or the password is wrong.")
    if settings.ACCOUNT_EMAIL_VERIFICATION == "mandatory" and not has_verified_email(user):
        raise PermissionDenied("Confirm your email address first: sign in to the site to get the mail.")
    return user
