"""Nobody can say that they are somewhere else."""

from __future__ import annotations

import pytest
from django.test import RequestFactory
from pytest_django import Settings

from apikeys.addresses import UNKNOWN, client_address

CASES = [
    (0, "203.0.113.7", "198.51.100.1", "203.0.113.7"),  # no proxy of ours: the header counts for nothing
    (1, "10.0.0.1", "203.0.113.7", "203.0.113.7"),
    (1, "10.0.0.1", "1.1.1.1, 203.0.113.7", "203.0.113.7"),  # the client has sent the first one itself
    (2, "10.0.0.1", "1.1.1.1, 203.0.113.7, 10.0.0.2", "203.0.113.7"),
    (2, "203.0.113.7", "1.1.1.1", "203.0.113.7"),  # it has not come through both
    (1, "203.0.113.7", "", "203.0.113.7"),
    (1, "10.0.0.1", "nonsense", UNKNOWN),
    (0, "", "", UNKNOWN),
    (0, "::ffff:203.0.113.7", "", "203.0.113.7"),
    (1, "10.0.0.1", "[2001:DB8::1]:443", "2001:db8::1"),
]


@pytest.mark.parametrize(("proxies", "peer", "header", "client"), CASES)
def test_the_address_comes_from_a_stated_number_of_hops(
    proxies: int, peer: str, header: str, client: str, settings: Settings
) -> None:
    settings.TRUSTED_PROXIES = proxies
    request = RequestFactory().get("/", REMOTE_ADDR=peer, headers={"X-Forwarded-For": header})
    assert client_address(request) == client
    scope = {"client": (peer, 1), "headers": [(b"x-forwarded-for", header.encode())]}
    assert client_address(scope) == client


def test_two_headers_are_one_list(settings: Settings) -> None:
    settings.TRUSTED_PROXIES = 1
    headers = [(b"x-forwarded-for", b"1.1.1.1"), (b"x-forwarded-for", b"203.0.113.7")]
    assert client_address({"client": ("10.0.0.1", 1), "headers": headers}) == "203.0.113.7"
