"""What callers are told: headers and refusals."""

from __future__ import annotations

from collections.abc import Sequence

from apikeys.errors import InsufficientQuota, RateLimited, TokensLimited
from apikeys.limits.buckets import MILLISECOND, MINUTE, SECOND, Bucket, Owned
from apikeys.limits.budgets import BILLION, Budget

_OWNERS = {"key": "this API key", "project": "this project", "user": "this person", "session": "this session"}


def headers_of(owned: Sequence[Owned], missing: Sequence[int]) -> dict[str, str]:
    """Of the bucket with the least left. ``missing``: parts, of each."""
    left, bucket, parts = min(
        ((bucket.remaining(parts), bucket, parts) for (_, bucket), parts in zip(owned, missing, strict=True)),
        key=lambda found: found[0],
    )
    # Requests: when `remaining` next grows; with none left, when the next call passes.
    reset = bucket.time_to_more(parts) if bucket.unit == "requests" else bucket.time_to_full(parts)
    return _headers(bucket, left, reset)


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
    if bucket.period == MINUTE:
        return f"{bucket.rate} {bucket.unit} per minute for {_name(owner)}"
    return f"{bucket.burst} {bucket.unit} at once, then {bucket.rate} per second"


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
