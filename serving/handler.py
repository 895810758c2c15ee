"""Django's ASGI handler without the threads that most requests to the API have no use for.

Django goes to a thread before each request and after it, to look after database connections. Here each
request has a thread of its own only if something asks for one (``sync_to_async``, the ORM's async methods);
what was opened there is then closed there. A request that asked for none never touched the database.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, cast

from asgiref.sync import SyncToAsync, sync_to_async
from django.core import signals
from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler, get_script_prefix
from django.http.response import HttpResponseBase
from django.urls import set_script_prefix

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class LightHandler(ASGIHandler):
    async def handle(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            body_file = await self.read_body(receive)
        except RequestAborted:
            return
        with body_file:
            set_script_prefix(get_script_prefix(scope))
            request, refusal = self.create_request(scope, body_file)
            if refusal is not None:
                await self.send_response(refusal, send)
            else:
                await self._answer(request, receive, send)

    async def _answer(self, request: Any, receive: Receive, send: Any) -> None:
        """A client that leaves cancels the view, or the sending of what it gave."""
        response: HttpResponseBase | None = None
        answering = cast("asyncio.Task[None]", asyncio.current_task())
        leaving = asyncio.create_task(_cancel_when_gone(answering, receive))
        try:
            response = await self.run_get_response(request)
            await self.send_response(response, send)
        except asyncio.CancelledError:
            if not leaving.done():  # it is the server that is stopping
                raise
            answering.uncancel()
        finally:
            leaving.cancel()
            await finish(response)


async def _cancel_when_gone(task: asyncio.Task[Any], receive: Receive) -> None:
    """After the body there is one message left to come: that the client has left."""
    await receive()
    task.cancel()


async def finish(response: HttpResponseBase | None) -> None:
    """Close ``response``, and what was opened in the thread of this context, if it has one."""
    close = _tell_finished if response is None else response.close
    if SyncToAsync.thread_sensitive_context.get() in SyncToAsync.context_to_thread_executor:
        await sync_to_async(close)()
    else:
        close()


def _tell_finished() -> None:
    signals.request_finished.send(sender=LightHandler)
