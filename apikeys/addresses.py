"""Where a request comes from, and nothing that a client could make up.

With TRUSTED_PROXIES = 0 that is the other end of the connection. With n, the last n proxies before this
server are the operator's own; each adds the address that it was asked from to X-Forwarded-For, so the n-th
entry from the end is the client, and whatever stands before it was sent by the client itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

from django.conf import settings
from django.http import HttpRequest

UNKNOWN = "0.0.0.0"  # noqa: S104  (no address of a client)


def client_address(asked: HttpRequest | Mapping[str, Any]) -> str:
    """The client's address of a request or of an ASGI scope; UNKNOWN if it cannot be told."""
    if isinstance(asked, Mapping):
        peer = (asked.get("client") or ("",))[0]
        forwarded = ",".join(
            value.decode("latin-1") for name, value in asked["headers"] if name == b"x-forwarded-for"
        )
    else:
        peer = asked.META.get("REMOTE_ADDR", "")
        forwarded = asked.META.get("HTTP_X_FORWARDED_FOR", "")
    return _normal(_behind_proxies(peer, forwarded, settings.TRUSTED_PROXIES))


def is_inside(address: str, networks: Iterable[IPv4Network | IPv6Network]) -> bool:
    parsed = ip_address(address)
    return any(parsed in network for network in networks)


def _behind_proxies(peer: str, forwarded: str, proxies: int) -> str:
    """Fewer entries than proxies: it did not come through all of them, so none of it is to be believed."""
    entries = forwarded.split(",") if forwarded else []
    return entries[-proxies] if 0 < proxies <= len(entries) else peer


def _normal(text: str) -> str:
    """One spelling for each address: an IPv4 address in IPv6's clothes is that IPv4 address."""
    try:
        address = ip_address(text.strip().removeprefix("[").partition("]")[0])
    except ValueError:
        return UNKNOWN
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)
