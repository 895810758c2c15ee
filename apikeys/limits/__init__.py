"""How much a caller may ask for: in this process, exact, in one decision.

admit           a request: buckets of requests, what runs at once, budgets that are spent
Permit.reserve  its tokens, once they are counted: buckets of tokens, what is left of budgets
Permit.settle   what it really used
"""

from __future__ import annotations

from django.conf import settings

from apikeys.auth import Caller
from apikeys.limits.limiter import Limiter as Limiter
from apikeys.limits.permits import Permit as Permit
from apikeys.limits.spending import Reader

limiter = Limiter(settings.RATE_LIMIT_PER_SECOND, settings.RATE_LIMIT_BURST)
_reader = Reader(limiter)


async def admit(caller: Caller, *, spends: bool = True) -> Permit:
    """Leave for one request of ``caller``. Raises ``RateLimited``, whose headers say when to come back, and
    ``InsufficientQuota``; the latter not for what never ``spends`` anything.

    The lines of a batch are not paced: how many come at once is bounded where they are sent from."""
    if caller.bounds and spends:
        await _reader.look_after(caller.bounds)
    return limiter.admit(caller.owner, caller.bounds, spends=spends, paced=caller.source != "batch")
