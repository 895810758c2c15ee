"""How much a caller may ask for: exact, in one decision, in this process or on Redis for all servers.

admit           a request: buckets of requests, what runs at once, budgets that are spent
Permit.reserve  its tokens, once they are counted: buckets of tokens, what is left of budgets
Permit.settle   what it really used
"""

from __future__ import annotations

from django.conf import settings

from apikeys.auth import Caller
from apikeys.limits.limiter import Limiter as Limiter
from apikeys.limits.memory import MemoryStore
from apikeys.limits.permits import Permit as Permit
from apikeys.limits.shared.fallback import Alone, SharedStore
from apikeys.limits.spending import Reader


def _recovered() -> None:
    """Redis may have forgotten what was spent."""
    _reader.forget()


_shared = SharedStore(settings.REDIS_URL, _recovered) if settings.REDIS_URL else None
limiter = Limiter(settings.RATE_LIMIT_PER_SECOND, settings.RATE_LIMIT_BURST, _shared or MemoryStore())
_reader = Reader(limiter)


async def admit(caller: Caller, *, spends: bool = True) -> Permit:
    """Leave for one request of ``caller``. Raises ``RateLimited``, whose headers say when to come back, and
    ``InsufficientQuota``; the latter not for what never ``spends`` anything.

    The lines of a batch are not paced: how many come at once is bounded where they are sent from."""
    if caller.bounds and spends:
        await _reader.look_after(caller.bounds)
    return await limiter.admit(caller.owner, caller.bounds, spends=spends, paced=caller.source != "batch")


def start() -> None:
    """From now on this server counts among those that share the limits."""
    if _shared is not None:
        _shared.start()


def stop() -> None:
    if _shared is not None:
        _shared.stop()


def alone() -> Alone | None:
    """How this server is, where limits are shared through Redis; None while that answers."""
    return None if _shared is None else _shared.alone
