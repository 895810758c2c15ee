"""A POST with an ``Idempotency-Key``: the first one is answered, and its repeats get that answer again.

answer_once ── first with its key ──> first.answer_first      which keeps the answer
    └───────── a repeat ────────────> waits for that, then gives it out again, byte for byte
"""

from __future__ import annotations

import asyncio
import hashlib
import zlib
from collections.abc import Awaitable, Callable

from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone
from rest_framework.request import Request

from apikeys.limits import Permit
from serving.errors import BadRequest, FirstAnswerLost, IdempotencyKeyReused
from serving.idempotency import claims
from serving.idempotency.first import answer_first
from serving.models import KeptAnswer
from serving.receipts import Receipt, admitted

HEADER = "Idempotency-Key"
REPLAYED = "idempotent-replayed"
LONGEST_KEY = 255  # characters
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0  # seconds between two looks whether the first request has ended


async def answer_once(
    request: Request, receipt: Receipt, respond: Callable[[], Awaitable[HttpResponseBase]]
) -> HttpResponseBase:
    """What ``respond`` answers, now or when the key first came. ``receipt`` is for a repeat that is refused,
    or not waited for; one that gets its answer leaves no record.

    Raises BadRequest, IdempotencyKeyReused, FirstAnswerLost, RateLimited.
    """
    key = request.headers[HEADER]
    claim = _Claim(receipt.caller.owner, key, _fingerprint(request))
    if _is_valid(key) and await claim.try_to_be_first():
        return await answer_first(claim.row.pk, receipt.request_id, respond)
    async with admitted(receipt) as permit:
        permit.release()  # it has taken its place in the bucket, and computes nothing
        _check(key)
        await claim.wait_for_the_first()
    if claim.is_first:
        return await answer_first(claim.row.pk, receipt.request_id, respond)
    return _repeat(claim.row, permit)


class _Claim:
    """What this request knows of its key."""

    row: KeptAnswer

    def __init__(self, owner: str, key: str, fingerprint: str) -> None:
        self._wanted = (owner, key, fingerprint)
        self.is_first = False

    async def try_to_be_first(self) -> bool:
        self.row, self.is_first = await claims.ask(claims.claim, *self._wanted)
        return self.is_first

    async def wait_for_the_first(self) -> None:
        """Until it has been answered. If it failed in a way that wants another try, that is us."""
        pause = FIRST_PAUSE
        while not self._is_answered():
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, LONGEST_PAUSE)
            if await self.try_to_be_first():
                return

    def _is_answered(self) -> bool:
        *_, fingerprint = self._wanted
        if self.row.fingerprint != fingerprint:
            raise IdempotencyKeyReused
        if self.row.status is None and self.row.alive_until <= timezone.now():
            raise FirstAnswerLost
        return self.row.status is not None


def _repeat(row: KeptAnswer, permit: Permit) -> HttpResponse:
    headers = {**row.headers, **permit.headers, REPLAYED: "true"}
    return HttpResponse(zlib.decompress(row.body), status=row.status, headers=headers)


def _is_valid(key: str) -> bool:
    return 0 < len(key) <= LONGEST_KEY and key.isascii() and key.isprintable()


def _check(key: str) -> None:
    if not _is_valid(key):
        raise BadRequest(
            f"The header {HEADER} must have from 1 to {LONGEST_KEY} printable ASCII characters.",
            code="invalid_idempotency_key",
        )


def _fingerprint(request: Request) -> str:
    """Of what is asked and where: SHA-256, in hexadecimal."""
    asked = hashlib.sha256(request.get_full_path().encode())
    asked.update(b"\n" + request.body)
    return asked.hexdigest()
