"""One request's line in the books: opened when it is known who asks, written exactly once."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal

from apikeys import contents, prices
from apikeys.auth import Caller
from apikeys.errors import ServiceError
from apikeys.limits import Permit, admit
from apikeys.models import CLIENT_LEFT, to_nanos
from apikeys.usage import recording
from apikeys.usage.event import UsageEvent
from serving import metrics
from serving.engine.core import RequestTimes

ASKED_AGAIN = {408, 429, CLIENT_LEFT}  # and all from 500 on: after these, a batch asks for its line once more


class Receipt:
    """Fill in ``model``, ``permit``, ``prompt_tokens``, ``completion_tokens`` and ``times`` as they become
    known."""

    def __init__(self, caller: Caller, request_id: str, endpoint: str) -> None:
        self.caller = caller
        self.request_id = request_id
        self.endpoint = endpoint
        self.model = ""
        self.stream = False
        self.permit: Permit | None = None
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.asked: object = None  # as JSON, and
        self.answered: list[str] = []  # for a project that keeps content
        self.times: RequestTimes | None = None  # what the engine measured; None: it was not asked
        self.cached = False  # whether the answer had been computed before
        self._started_at = datetime.now(UTC)
        self._started = time.monotonic()
        self._ttft_ms: int | None = None
        self._written = threading.Lock()

    def first_token(self) -> None:
        if self._ttft_ms is None:
            self._ttft_ms = self._elapsed_ms()

    async def reserve(self, prompt_tokens: int, completion_tokens: int) -> None:
        """Set aside the most that the request may use. Raises RateLimited, InsufficientQuota."""
        if self.permit is not None and self.permit.bounds:
            cost = self._price(prompt_tokens, completion_tokens)
            await self.permit.reserve(prompt_tokens + completion_tokens, cost)

    def write(self, status: int, finish_reason: str = "", error_code: str = "") -> None:
        """Settle the permit and record the request, the first time; from any thread."""
        if not self._written.acquire(blocking=False):
            return
        cost = self.cost(status)
        if self.permit is not None:  # before it is recorded: what is in the database was counted here
            self.permit.settle(self.prompt_tokens + self.completion_tokens, cost)
        metrics.count_request(self.endpoint, self.model, status, self.prompt_tokens, self.completion_tokens)
        if self.caller.source == "batch" and (status in ASKED_AGAIN or status >= 500):
            return  # only what comes of the line in the end is recorded, under the id that it keeps
        recording.record(
            UsageEvent(
                request_id=self.request_id,
                user_id=self.caller.user_id,
                key_id=self.caller.key_id,
                project_id=self.caller.project_id,
                source=self.caller.source,
                endpoint=self.endpoint,
                model=self.model,
                prompt_tokens=self.prompt_tokens,
                completion_tokens=self.completion_tokens,
                status=status,
                finish_reason=finish_reason,
                error_code=error_code,
                started_at=self._started_at,
                ttft_ms=self._ttft_ms,
                duration_ms=self._elapsed_ms(),
                stream=self.stream,
                cost_nanos=to_nanos(cost),
                address=self.caller.address,
                content=self._content(),
                cached=self.cached,
                **_measured(self.times),
            )
        )

    def cost(self, status: int) -> Decimal:
        """What fails is free, and so is what was left before the model computed anything for it."""
        left_before = status == CLIENT_LEFT and (self.times is None or self.times.compute == 0)
        if status >= 400 and (status != CLIENT_LEFT or left_before):
            return Decimal(0)
        return self._price(self.prompt_tokens, self.completion_tokens)

    def _price(self, prompt_tokens: int, completion_tokens: int) -> Decimal:
        """Nothing for an answer that had been computed before."""
        if self.cached:
            return Decimal(0)
        return prices.cost_of(self.model, prompt_tokens, completion_tokens, self._started_at)

    def _content(self) -> str:
        if self.asked is None or not self.caller.keeps_content:
            return ""
        return contents.seal(contents.Content(self.asked, self.answered))

    def refuse(self, error: ServiceError) -> None:
        """Write that nothing came of the request, and tell the caller what is left in the bucket."""
        if self.permit is not None:
            error.headers = {**self.permit.headers, **error.headers}
        self.write(error.status, error_code=error.code or error.type)

    def _elapsed_ms(self) -> int:
        return round((time.monotonic() - self._started) * 1000)


def _measured(times: RequestTimes | None) -> dict[str, int]:
    """In the units of UsageEvent, which has its own words for "not measured"."""
    if times is None:
        return {}
    stages = {"queue_ms": times.queue, "prefill_ms": times.prefill, "decode_ms": times.decode}
    milliseconds = {name: round(seconds * 1000) for name, seconds in stages.items()}
    return {**milliseconds, "compute_us": round(times.compute * 1_000_000)}


@asynccontextmanager
async def admitted(receipt: Receipt) -> AsyncIterator[Permit]:
    """Admit the receipt's caller, and write the receipt if the request fails from here on; what comes of
    it otherwise is for the body to write. Raises RateLimited, InsufficientQuota."""
    try:
        permit = receipt.permit = await admit(receipt.caller)
        yield permit
    except ServiceError as error:
        receipt.refuse(error)
        raise
    except asyncio.CancelledError:
        receipt.write(CLIENT_LEFT, finish_reason="abort")
        raise
    except Exception:
        receipt.write(500, error_code="internal_error")
        raise
