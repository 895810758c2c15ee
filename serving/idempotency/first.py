"""The first request with its Idempotency-Key: answered to the end, also when its client leaves, for that
will come back and ask for the answer. It runs in a task of its own, and a stream goes through a ``Spool``."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import Context

from asgiref.sync import ThreadSensitiveContext
from django.db import DatabaseError
from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase

from apikeys.models import CLIENT_LEFT
from serving.handler import finish
from serving.idempotency import claims
from serving.idempotency.spool import Spool
from serving.middleware import HEADER
from serving.sse import EventStreamResponse

log = logging.getLogger(__name__)

Respond = Callable[[], Awaitable[HttpResponseBase]]

WORTH_A_RETRY = {408, 409, 425, 429, CLIENT_LEFT}  # and all from 500 on: answers that are not kept

_under_way: set[asyncio.Task[None]] = set()  # asyncio by itself lets go of a task that nobody holds


async def answer_first(pk: int, request_id: str, respond: Respond) -> HttpResponseBase:
    """What ``respond`` answers; ``pk`` is the claim that it fulfils."""
    first = _First(pk, request_id)
    # Not in the request's context, whose thread and connection end with the request.
    task = asyncio.create_task(first.see_through(respond), context=Context())
    _under_way.add(task)
    task.add_done_callback(_under_way.discard)
    return await first.begun  # all that a client that leaves cancels


class _First:
    """``begun`` is what its client gets: a whole answer, or a stream that has begun."""

    def __init__(self, pk: int, request_id: str) -> None:
        self.begun: asyncio.Future[HttpResponseBase] = asyncio.get_running_loop().create_future()
        self._pk = pk
        self._request_id = request_id

    async def see_through(self, respond: Respond) -> None:
        async with ThreadSensitiveContext(), _signs_of_life(self._pk):
            try:
                await self._answer(await respond())
            except Exception as error:
                await _write(claims.forget, self._pk)
                self._fail(error)
            finally:
                await finish(None)

    async def _answer(self, response: HttpResponseBase) -> None:
        if isinstance(response, EventStreamResponse):
            await self._pass_on(response)
            return
        assert isinstance(response, HttpResponse)  # noqa: S101 (for the type checker)
        await self._keep(response, response.content)
        if not self.begun.done():
            self.begun.set_result(response)

    async def _pass_on(self, response: EventStreamResponse) -> None:
        """Its events go to the client, if that is still there, and into the record."""
        spool = Spool(response.events, claims.LARGEST)
        if self.begun.done():
            spool.leave()
        else:
            self.begun.set_result(StreamingHttpResponse(spool, headers=response.headers))
        await spool.run()
        if response.events.complete:
            await self._keep(response, spool.whole)
        else:
            await _write(claims.forget, self._pk)

    async def _keep(self, response: HttpResponseBase, body: bytes | None) -> None:
        if response.status_code >= 500 or response.status_code in WORTH_A_RETRY:
            await _write(claims.forget, self._pk)
        elif body is None or len(body) > claims.LARGEST:
            await _write(claims.lose, self._pk)
        else:
            lasting = {k: v for k, v in response.items() if not k.lower().startswith("x-ratelimit-")}
            headers = {**lasting, HEADER: self._request_id}
            await _write(claims.keep, self._pk, response.status_code, headers, body)

    def _fail(self, error: Exception) -> None:
        if self.begun.done():  # nobody is left to log it
            log.error("Request %s failed", self._request_id, exc_info=error)
        else:
            self.begun.set_exception(error)


@asynccontextmanager
async def _signs_of_life(pk: int) -> AsyncIterator[None]:
    async def beat() -> None:
        while True:
            await asyncio.sleep(claims.BEAT)
            await _write(claims.stay_alive, pk)

    beating = asyncio.create_task(beat())
    try:
        yield
    finally:
        beating.cancel()


async def _write(call: Callable[..., object], *args: object) -> None:
    """A database that is away takes nothing from the client but the repeat: the claim will count as lost."""
    try:
        await claims.ask(call, *args)
    except DatabaseError as error:
        log.warning("An answer could not be kept for a repeat: %s", error)
