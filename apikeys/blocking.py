"""Who is turned away at the door, whatever they come with: by hand, or after many wrong keys.

The list is kept in memory as keys are kept (``known.py``), so that the door costs no query: a change holds
at once in this process, and in others within TRUSTED seconds. While the database is away the list holds as
it was.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from asgiref.sync import sync_to_async
from django.core.cache import cache
from django.db import DatabaseError, close_old_connections, transaction
from django.db.models import Model, Q
from django.db.models.signals import post_delete, post_save
from django.utils import timezone
from django.utils.translation import gettext

from apikeys import audit
from apikeys.addresses import UNKNOWN
from apikeys.audit import SYSTEM, Actor
from apikeys.known import TRUSTED as TRUSTED
from apikeys.known import Known
from apikeys.models import BlockedAddress

FAILURES = 100  # wrong keys from one address ...
WITHIN = timedelta(minutes=10)  # ... in this time ...
BLOCKED_FOR = timedelta(hours=1)  # ... block it for this long

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Block:
    network: IPv4Network | IPv6Network
    until: datetime | None


Blocks = tuple[Block, ...]
_ALL = "all"


def _load() -> Blocks:
    holding = BlockedAddress.objects.filter(Q(until=None) | Q(until__gt=timezone.now()))
    return tuple(Block(ip_network(row.network), row.until) for row in holding)


def _ask(known: Mapping[str, Blocks]) -> Mapping[str, Blocks]:
    return {_ALL: _load()}


_known = Known[Blocks]("block", _ask)
_last: Blocks = ()
start, stop = _known.start, _known.stop


async def is_blocked(address: str) -> bool:
    """For the event loop: takes a thread and a query only when nobody has come for a while."""
    blocks = _known.get(_ALL)
    return _covers(await sync_to_async(_look_up)() if blocks is None else blocks, address)


def block(network: str, reason: str, until: datetime | None, *, by: Actor) -> BlockedAddress:
    """Raises ``ValidationError``. Blocking again what is blocked takes the new reason and time."""
    with transaction.atomic():
        row = BlockedAddress.objects.filter(network=network).first() or BlockedAddress(network=network)
        row.reason, row.until, row.blocked_by_id = reason, until, by.user_id
        row.full_clean()
        row.save()
        after = audit.snapshot(row, ("network", "reason", "until"))
        audit.record(by, "address.block", row, project_id=None, after=after)
    return row


def unblock(row: BlockedAddress, *, by: Actor) -> None:
    with transaction.atomic():
        before = audit.snapshot(row, ("network", "reason", "until"))
        audit.record(by, "address.unblock", row, project_id=None, before=before)
        row.delete()


def said(reason: str) -> str:
    """``reason`` in the reader's language, where ``note_failure`` gave it."""
    match = re.fullmatch(r"(\d+) wrong keys", reason)
    return gettext("%(count)s wrong keys") % {"count": match[1]} if match else reason


def note_failure(address: str) -> None:
    """A wrong key from ``address``: one too many blocks it. Not for the event loop. Never raises.

    Never this machine itself: behind a proxy that TRUSTED_PROXIES does not count, that is everybody.
    """
    if address == UNKNOWN or ip_address(address).is_loopback:
        return
    try:
        if _count(address) == FAILURES:
            logger.warning("%s is blocked for %s: %d wrong keys", address, BLOCKED_FOR, FAILURES)
            block(address, f"{FAILURES} wrong keys", timezone.now() + BLOCKED_FOR, by=SYSTEM)
            cache.delete(_counter(address))
    except Exception as error:  # the cache or the database is away: the key is refused all the same
        logger.warning("Wrong keys from %s are not counted: %s", address, error)


def _count(address: str) -> int:
    cache.add(_counter(address), 0, WITHIN.total_seconds())
    try:
        return cache.incr(_counter(address))
    except ValueError:  # it has expired between these two lines
        return 1


def _counter(address: str) -> str:
    return f"wrong-keys:{address}"


def connect_signals() -> None:
    """For AppConfig.ready."""
    for signal in (post_save, post_delete):
        signal.connect(_changed, sender=BlockedAddress, dispatch_uid="blocking")


def _look_up() -> Blocks:
    global _last
    try:
        _last = _known.learn(_ALL, _load) or ()
    except DatabaseError as error:
        logger.warning("The database does not say who is blocked: %s", error)
        close_old_connections()  # outside of any request nobody else does, and the next look would fail too
    return _last


def _covers(blocks: Blocks, address: str) -> bool:
    if not blocks:
        return False
    parsed, now = ip_address(address), timezone.now()
    return any(parsed in block.network and (block.until is None or now < block.until) for block in blocks)


def _changed(instance: Model, **_: object) -> None:
    _known.forget(lambda blocks: True)
