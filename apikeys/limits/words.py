"""What callers are told: headers and refusals."""

from __future__ import annotations

from collections.abc import Sequence

from apikeys.errors import InsufficientQuota, RateLimited, TokensLimited
from apikeys.limits.buckets import MILLISECOND, MINUTE, SECOND, Bucket, Owned
from apikeys.limits.budgets import BILLION, Budget
from apikeys.limits.demands import Found

_OWNERS = {"key": "this API key", "project": "this project", "user": "this person", "session": "this session"}


def headers_of(found: Found) -> dict[str, str]:
    """Once it is taken: of the bucket with the least left."""
    if not found.demand.takes:
        return {}
    amount = found.demand.amount
    taken = [
        (bucket, parts + amount * bucket.period)
        for (_, bucket), parts in zip(found.demand.takes, found.missing, strict=True)
    ]
    left, bucket, parts = min(
        ((bucket.remaining(parts), bucket, parts) for bucket, parts in taken), key=lambda each: each[0]
    )
    # Requests: when `remaining` next grows; with none left, when the next call passes.
    reset = bucket.time_to_more(parts) if bucket.unit == "requests" else bucket.time_to_full(parts)
    return _headers(bucket, left, reset)


def refusal(found: Found) -> RateLimited | InsufficientQuota:
    """Of what did not pass: what no wait can help comes first."""
    return _of_budgets(found) or _of_buckets(found) or _of_places(found)


def _of_budgets(found: Found) -> RateLimited | InsufficientQuota | None:
    hold = found.demand.hold
    for budget, used in zip(found.demand.budgets, found.spent, strict=True):
        if hold is None and used >= budget.limit:
            return spent(budget, used)
        if hold is not None and used + (wanted := hold.of(budget.kind)) > budget.limit:
            return not_enough(budget, used, wanted)
    for budget, used, set_aside in zip(found.demand.budgets, found.spent, found.held, strict=True):
        if hold is not None and used + set_aside + hold.of(budget.kind) > budget.limit:
            return held(budget)
    return None


def _of_buckets(found: Found) -> RateLimited | None:
    amount, owned = found.demand.amount, found.demand.takes
    for (owner, bucket), parts in zip(owned, found.missing, strict=True):
        if amount > bucket.burst:
            return too_large(owner, bucket, parts, amount)
    waits = [bucket.wait(parts, amount) for (_, bucket), parts in zip(owned, found.missing, strict=True)]
    return too_soon(owned, found.missing, waits, amount) if any(waits) else None


def _of_places(found: Found) -> RateLimited:
    full = [
        place for place, count in zip(found.demand.places, found.running, strict=True) if count >= place[1]
    ]
    return too_many(*full[0])


def too_soon(
    owned: Sequence[Owned], missing: Sequence[int], waits: Sequence[int], amount: int
) -> RateLimited:
    """By the bucket that takes longest to have ``amount``."""
    number = max(range(len(waits)), key=waits.__getitem__)
    (owner, bucket), wait = owned[number], waits[number]
    left = bucket.remaining(missing[number])
    refusal = RateLimited if bucket.unit == "requests" else TokensLimited
    wanted = "" if bucket.unit == "requests" else f" Of these {left} are left; {amount} were requested."
    return refusal(
        f"Rate limit reached: {_limit(owner, bucket)}.{wanted} Please try again in {format_duration(wait)}.",
        headers={**_headers(bucket, left, wait), **_come_back(wait)},
    )


def too_large(owner: str, bucket: Bucket, missing: int, amount: int) -> TokensLimited:
    """What no wait can help."""
    headers = _headers(bucket, bucket.remaining(missing), bucket.time_to_full(missing))
    return TokensLimited(
        f"Request too large: {_limit(owner, bucket)}, but this request may use {amount}. "
        "Please shorten the prompt or ask for fewer completion tokens (max_tokens).",
        headers={**headers, "x-should-retry": "false"},
    )


def too_many(owner: str, limit: int) -> RateLimited:
    return RateLimited(
        f"Rate limit reached: {limit} requests of {_name(owner)} may run at once. Please try again when one "
        "has ended.",
        headers=_come_back(SECOND),
    )


def spent(budget: Budget, used: int) -> InsufficientQuota:
    return InsufficientQuota(
        f"The {budget.period} budget of {_name(budget.owner)} is spent: {_amount(budget, used)} of "
        f"{_amount(budget, budget.limit)}. {_AGAIN[budget.period]}",
        headers={"x-should-retry": "false"},
    )


def not_enough(budget: Budget, used: int, wanted: int) -> InsufficientQuota:
    return InsufficientQuota(
        f"This request may use {_amount(budget, wanted)}, but {_amount(budget, budget.limit - used)} are "
        f"left of the {budget.period} budget of {_name(budget.owner)}. Please shorten the prompt or ask for "
        f"fewer completion tokens (max_tokens). {_AGAIN[budget.period]}",
        headers={"x-should-retry": "false"},
    )


def held(budget: Budget) -> RateLimited:
    """Requests that are running may leave enough of the budget."""
    return RateLimited(
        f"What is left of the {budget.period} budget of {_name(budget.owner)} is set aside for requests that "
        "are running. Please try again when one has ended.",
        headers=_come_back(SECOND),
    )


_AGAIN = {"daily": "A new day begins at 00:00 UTC.", "monthly": "A new month begins at 00:00 UTC on its 1st."}


def _limit(owner: str, bucket: Bucket) -> str:
    if bucket.period == MINUTE * bucket.servers:
        limit = f"{bucket.rate} {bucket.unit} per minute for {_name(owner)}"
    else:
        limit = f"{bucket.burst} {bucket.unit} at once, then {bucket.rate} per second"
    return limit if bucket.servers == 1 else f"1/{bucket.servers} of {limit}, for the moment,"


def _name(owner: str) -> str:
    return _OWNERS[owner.partition(":")[0]]


def _amount(budget: Budget, amount: int) -> str:
    return f"{amount} tokens" if budget.kind == "tokens" else f"{amount / BILLION:.6f} (money)"


def _headers(bucket: Bucket, left: int, reset: int) -> dict[str, str]:
    return {
        f"x-ratelimit-limit-{bucket.unit}": str(bucket.burst),
        f"x-ratelimit-remaining-{bucket.unit}": str(left),
        f"x-ratelimit-reset-{bucket.unit}": format_duration(reset),
    }


def _come_back(wait: int) -> dict[str, str]:
    return {"Retry-After": str(-(-wait // SECOND)), "retry-after-ms": str(-(-wait // MILLISECOND))}


def format_duration(nanoseconds: int) -> str:
    """A duration as OpenAI writes it, rounded up to milliseconds: ``12ms``, ``1s``, ``1.5s``, ``6m0s``."""
    milliseconds = -(-nanoseconds // MILLISECOND)
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    seconds, milliseconds = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    fraction = f".{milliseconds:03}".rstrip("0") if milliseconds else ""
    return (
        (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + f"{seconds}{fraction}s"
    )
