"""The whole site as one ASGI application, and what runs behind it. Needs Django set up (config.asgi).

Site
├── http       /static/...            ServeStatic
│              /v1, /healthz, ...      ApiHandler
│              everything else         Django, with the middleware of the pages
├── websocket  /ws/...                 Channels, for signed-in people of this site
└── behind     the models, the usage writer, the embedded Celery
"""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from channels.auth import AuthMiddlewareStack
from channels.routing import URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.urls import re_path
from servestatic import ServeStaticASGI

from apikeys import blocking, known_keys, limits, prices
from apikeys.addresses import client_address
from apikeys.jwt import known as known_tokens
from apikeys.usage import recording
from config import embedded_celery
from playground.routing import websocket_urlpatterns
from serving import completions, runtime, sse
from serving.asgi import (
    ApiHandler,
    Application,
    BodyLimit,
    Receive,
    Scope,
    Send,
    is_api_path,
    turn_away,
)
from serving.batches import runner

LAST_EVENTS_WITHIN = 5.0  # seconds for open streams to say why they end


class Site:
    """``start`` and ``stop`` are for the server that runs the site. Where it calls neither (daphne's own
    command has no lifespan), the first connection starts what runs behind."""

    def __init__(self) -> None:
        api = BodyLimit(ApiHandler())
        pages = BodyLimit(ASGIHandler())

        async def http(scope: Scope, receive: Receive, send: Send) -> None:
            # What has a NUL in its name cannot be there, and PostgreSQL refuses to look for it.
            path = scope["path"].replace("\0", "\N{REPLACEMENT CHARACTER}")
            await (api if is_api_path(path) else pages)({**scope, "path": path}, receive, send)

        settings.STATIC_ROOT.mkdir(parents=True, exist_ok=True)
        self._http: Application = ServeStaticASGI(
            http, root=settings.STATIC_ROOT, prefix=settings.STATIC_URL, allow_all_origins=False
        )
        routes: list[Any] = [*websocket_urlpatterns, re_path("", _no_socket)]  # type: ignore[arg-type]
        self._websocket: Application = AllowedHostsOriginValidator(AuthMiddlewareStack(URLRouter(routes)))
        self._lock = threading.Lock()
        self._running = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        self.start()
        if await blocking.is_blocked(client_address(scope)):
            await turn_away(scope, send)
            return
        await (self._websocket if scope["type"] == "websocket" else self._http)(scope, receive, send)

    def start(self) -> None:
        """Idempotent. Returns while models are still being loaded. Raises ModelsFileError."""
        with self._lock:
            if self._running:
                return
            runtime.start()
            limits.start()
            recording.start()
            known_keys.start()
            blocking.start()
            prices.start()
            known_tokens.start()
            runner.start()
            embedded_celery.start()
            self._running = True

    def stop(self) -> None:
        """End what is being generated, and write all usage to the database. Takes up to some seconds."""
        with self._lock:
            if not self._running:
                return
            runner.stop()
            runtime.stop()
            completions.close_all()
            sse.wait_until_sent(LAST_EVENTS_WITHIN)
            embedded_celery.stop()
            prices.stop()
            known_tokens.stop()
            blocking.stop()
            known_keys.stop()
            recording.stop()
            limits.stop()
            self._running = False

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            step = self.start if message["type"] == "lifespan.startup" else self.stop
            await asyncio.to_thread(step)
            await send({"type": f"{message['type']}.complete"})
            if step == self.stop:
                return


async def _no_socket(scope: Scope, receive: Receive, send: Send) -> None:
    """Refuses a websocket to an address that has none; Channels would answer 500."""
    await receive()
    await send({"type": "websocket.close"})
