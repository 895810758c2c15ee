from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from apikeys.models import Price
from apikeys.prices import LEAD, PriceList, set_price
from tests.apikeys.conftest import NOON
from tests.apikeys.usage.test_recording import wait_until

HOUR = timedelta(hours=1)


@pytest.fixture
def prices(db: None) -> PriceList:
    """smollm2 costs 0.15 in and 0.60 out up to NOON, then 0.30 and 1.20."""
    for valid_from, rate in ((NOON - 24 * HOUR, ("0.15", "0.60")), (NOON, ("0.30", "1.20"))):
        Price.objects.create(
            model="smollm2", input=Decimal(rate[0]), output=Decimal(rate[1]), valid_from=valid_from
        )
    prices = PriceList()
    prices.refresh()
    return prices


def test_tokens_cost_what_held_at_that_moment(
    prices: PriceList, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(0):
        instant = timedelta(microseconds=1)
        assert prices.cost_of("smollm2", 1000, 2000, NOON - instant) == Decimal("0.00135")
        assert prices.cost_of("smollm2", 1000, 2000, NOON) == Decimal("0.0027")
        assert prices.cost_of("smollm2", 1000, 2000, NOON - 25 * HOUR) == 0
        assert prices.cost_of("another", 1000, 2000, NOON) == 0


def test_a_cost_is_rounded_to_a_billionth(prices: PriceList) -> None:
    assert prices.cost_of("smollm2", 1, 0, NOON - HOUR) == Decimal("0.000000150")
    Price.objects.create(model="fine", input=Decimal("0.000500"), output=Decimal(0), valid_from=NOON)
    prices.refresh()
    assert prices.cost_of("fine", 1, 0, NOON) == 0  # half a billionth, to even
    assert prices.cost_of("fine", 3, 0, NOON) == Decimal("2e-9")


def test_a_new_price_holds_late_enough_for_every_process_to_know_it(db: None) -> None:
    before = timezone.now()
    price = set_price("smollm2", (Decimal(1), Decimal(2)))
    assert price.valid_from >= before + LEAD


def test_no_price_is_set_for_what_is_charged_already(db: None) -> None:
    with pytest.raises(ValueError, match="past"):
        set_price("smollm2", (Decimal(1), Decimal(2)), timezone.now())
    assert not Price.objects.exists()


@pytest.fixture
def watched() -> Iterator[PriceList]:
    prices = PriceList()
    yield prices
    prices.stop()


@pytest.mark.django_db(transaction=True)
def test_the_watcher_learns_of_prices_by_itself(
    watched: PriceList, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("apikeys.prices.REFRESH_EVERY", 0.05)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE apikeys_price RENAME TO away")
    watched.start()
    wait_until(lambda: "does not say what tokens cost" in caplog.text)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE away RENAME TO apikeys_price")
    Price.objects.create(model="smollm2", input=Decimal(1), output=Decimal(2), valid_from=NOON)
    wait_until(lambda: watched.rate_of("smollm2", NOON) is not None)
