"""The playground's websocket: chat frames in, tokens out (frames.py has the shapes)."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from channels.auth import get_user
from channels.generic.websocket import AsyncWebsocketConsumer
from django.contrib.sessions.backends.db import SessionStore
from django.http import HttpRequest
from django.utils.translation import get_language_from_request

from apikeys.auth import Caller, playground_caller
from apikeys.errors import RateLimited, ServiceError
from apikeys.limits import Limiter
from playground.frames import ChatFrame, Frame, ReplyInProgress, StopFrame, parse_frame
from playground.model_status import watch_models
from playground.reply import Reply
from serving.errors import to_frame

# Close codes
SIGNED_OUT = 4401  # this socket is for people with a session
TOO_FAST = 4429

# Every frame takes time from everybody; a person at the page comes nowhere near this.
_frames = Limiter(rate=20, burst=200)


class PlaygroundConsumer(AsyncWebsocketConsumer):
    """One socket of one signed-in person. At most one reply runs on it."""

    def __init__(self) -> None:
        super().__init__()
        self._reply: Reply | None = None
        self._watch: asyncio.Task[None] | None = None
        self._cut_off = False

    async def __call__(self, *asgi: Any) -> None:
        """However the socket ends, what runs for it ends too."""
        try:
            await super().__call__(*asgi)
        finally:
            if self._reply:
                self._reply.abandon()
            if self._watch:
                self._watch.cancel()

    async def connect(self) -> None:
        await self.accept()  # a browser is told the close code of an accepted socket only
        if await self._find_caller():
            self._watch = asyncio.create_task(watch_models(self._send, self._language()))
        else:
            await self.close(SIGNED_OUT)

    def _language(self) -> str:
        """Of the page that this socket belongs to."""
        request = HttpRequest()
        request.COOKIES = self.scope["cookies"]
        accepted = dict(self.scope["headers"]).get(b"accept-language", b"")
        request.META["HTTP_ACCEPT_LANGUAGE"] = accepted.decode("latin-1")
        return get_language_from_request(request)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if self._cut_off:  # what had come before the socket was closed
            return
        try:
            await _frames.admit(str(getattr(self.scope["user"], "pk", None)))
            frame = parse_frame(text_data)
        except RateLimited as error:
            await self._cut(error)
            return
        except ServiceError as error:
            await self._send({**to_frame(error), "id": None})
            return
        match frame:
            case ChatFrame():
                await self._chat(frame)
            case StopFrame() if self._reply:
                self._reply.stop()

    async def _chat(self, frame: ChatFrame) -> None:
        caller = await self._find_caller()
        if caller is None:
            await self.close(SIGNED_OUT)
        elif self._reply and self._reply.running:
            await self._send({**to_frame(ReplyInProgress()), "id": frame.id})
        else:
            self._reply = Reply(frame, caller, self._send)

    async def _cut(self, error: RateLimited) -> None:
        self._cut_off = True
        if self._reply:
            self._reply.abandon()
        await self._send({**to_frame(error), "id": None})
        await self.close(TOO_FAST)

    async def _find_caller(self) -> Caller | None:
        """Who speaks, by the session as it is now: it may have ended since the socket was opened."""
        session = SessionStore(self.scope["session"].session_key)
        user = await get_user({"session": session})  # type: ignore[typeddict-item]
        return await playground_caller(user.pk) if user.is_authenticated else None

    async def _send(self, frame: Frame) -> None:
        await self.send(text_data=json.dumps(frame))
