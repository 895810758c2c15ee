"""The SIGNUP setting."""

from __future__ import annotations

import pytest
from django.core.exceptions import ImproperlyConfigured
from pytest_django import Settings

from console.checks import check_signup
from console.signup import SignupPolicy, parse_policy


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("open", SignupPolicy("open")),
        ("invite", SignupPolicy("invite")),
        ("domain:example.com", SignupPolicy("domain", ("example.com",))),
        ("domain: @Example.com , other.org ", SignupPolicy("domain", ("example.com", "other.org"))),
    ],
)
def test_setting_is_understood(text: str, policy: SignupPolicy) -> None:
    assert parse_policy(text) == policy


@pytest.mark.parametrize("text", ["", "closed", "domain:", "domain: ,", "domains:example.com"])
def test_setting_that_makes_no_sense_is_refused(text: str, settings: Settings) -> None:
    with pytest.raises(ImproperlyConfigured, match="SIGNUP"):
        parse_policy(text)
    settings.SIGNUP = text
    assert [error.id for error in check_signup()] == ["console.E001"]
