"""The page of prices: who sets them, and what it refuses."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone

from apikeys.models import AuditEntry, Price
from console.models import User
from console.templatetags.console import money
from serving import runtime
from serving.engine.models_file import read_models_file
from serving.runtime import ModelStatus

PRICES = "/console/prices/"
SET = "/console/prices/set/"


def test_a_price_is_set_and_listed(as_administrator: Client, administrator: User) -> None:
    asked = {"model": "smollm2", "input": "0.15", "output": "0.6", "valid_from": ""}
    page = as_administrator.post(SET, asked, follow=True).content.decode()
    price = Price.objects.get()
    assert (price.input, price.output, price.created_by) == (Decimal("0.15"), Decimal("0.6"), administrator)
    assert "To come" in page
    entry = AuditEntry.objects.latest("pk")
    assert (entry.action, entry.actor_id, entry.after["input"]) == ("price.set", administrator.pk, "0.15")
    assert ">0.15<" in page


def test_an_alias_stands_for_its_model(as_administrator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = read_models_file(settings.MODELS_FILE)[0]
    status = ModelStatus(spec)
    monkeypatch.setattr(runtime._runtime, "_statuses", {spec.name: status})
    monkeypatch.setattr(runtime._runtime, "_roots", dict.fromkeys(spec.aliases, spec.name))
    as_administrator.post(SET, {"model": spec.aliases[0], "input": "1", "output": "2", "valid_from": ""})
    assert Price.objects.get().model == spec.name


def test_the_list_tells_which_price_holds(as_administrator: Client) -> None:
    now = timezone.now()
    for days in (-20, -10, 10):
        Price.objects.create(model="smollm2", input=1, output=2, valid_from=now + timedelta(days=days))
    rows = as_administrator.get(PRICES).context["rows"]
    assert [(current, upcoming) for _, current, upcoming in rows] == [
        (False, True),
        (True, False),
        (False, False),
    ]


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("model", "", "required"),
        ("input", "-1", "greater than or equal to 0"),
        ("output", "much", "Enter a number"),
        ("output", "1e40", "no more than"),
        ("valid_from", "2020-01-01T00:00", "in the past"),
        ("valid_from", "soon", "valid date"),
    ],
)
def test_what_makes_no_price_is_said_beside_its_field(
    field: str, value: str, complaint: str, as_administrator: Client
) -> None:
    asked = {"model": "smollm2", "input": "1", "output": "2", "valid_from": "", field: value}
    answer = as_administrator.post(SET, asked)
    assert answer.status_code == 400
    assert complaint in answer.context["form"].errors[field][0]
    assert not Price.objects.exists()


def test_two_prices_from_the_same_moment_are_refused(as_administrator: Client) -> None:
    moment = (timezone.now() + timedelta(days=2)).strftime("%Y-%m-%dT%H:%M")
    asked = {"model": "smollm2", "input": "1", "output": "2", "valid_from": moment}
    assert as_administrator.post(SET, asked).status_code == 302
    assert as_administrator.post(SET, asked).status_code == 400
    assert Price.objects.count() == 1


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0", "0.00 USD"),
        ("0.000123456", "0.000123 USD"),
        ("0.05", "0.0500 USD"),
        ("12.5", "12.50 USD"),
        ("1234567.891", "1,234,567.89 USD"),
    ],
)
def test_money_is_short_but_tells_something(amount: str, text: str) -> None:
    assert money(Decimal(amount)) == text


def test_prices_have_as_many_digits_as_the_longest_needs(as_administrator: Client) -> None:
    now = timezone.now()
    for rates, shown in ((("0.2", "10"), ["0.20", "10.00"]), (("0.0375", "2.5"), ["0.0375", "2.5000"])):
        Price.objects.create(model="m", input=rates[0], output=rates[1], valid_from=now)
        page = as_administrator.get(PRICES).content.decode()
        assert re.findall(r'class="number">([^<]+)</td>', page)[:2] == shown
        now += timedelta(days=1)
