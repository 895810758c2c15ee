"""One reply: from a chat frame to its done or error frame."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field

from apikeys.auth import Caller
from apikeys.errors import ServiceError
from playground.frames import SOCKET_PATH, ChatFrame, Frame
from serving.chat.schemas import parse_chat_request
from serving.completions import CompletionStream, Usage, refuse, start_completion
from serving.errors import BadRequest, InternalError, to_frame
from serving.middleware import new_request_id

# Tokens that come faster than this travel together; a screen shows no more anyway.
SEND_INTERVAL = 1 / 60  # seconds

log = logging.getLogger(__name__)

Send = Callable[[Frame], Awaitable[None]]


@dataclass(slots=True)
class Pace:
    """When the tokens came, in seconds of the monotonic clock."""

    asked: float = field(default_factory=time.monotonic)
    first: float | None = None
    last: float = 0.0

    def token_came(self) -> None:
        self.last = time.monotonic()
        self.first = self.first or self.last

    @property
    def ttft_ms(self) -> int | None:
        return None if self.first is None else round((self.first - self.asked) * 1000)

    def tokens_per_second(self, tokens: int) -> float | None:
        """The rate after the first token; None while there is no second one."""
        if self.first is None or self.last == self.first:
            return None
        return round((tokens - 1) / (self.last - self.first), 2)


class Reply:
    """Runs in a task of its own: Channels reads no frame while a handler runs, and a stop frame must be
    read. However it ends, the stream is closed and recorded before the last frame goes out."""

    def __init__(self, frame: ChatFrame, caller: Caller, send: Send) -> None:
        self._frame = frame
        self._caller = caller
        self._request_id = new_request_id()
        self._send_frame = send
        self._pace = Pace()
        self._stopped = False
        self._generating = True
        self._task = asyncio.create_task(self._run())

    @property
    def running(self) -> bool:
        return not self._task.done()

    def stop(self) -> None:
        """Ends the reply with what it has so far; its done frame says "cancelled"."""
        if self._generating:
            self._stopped = True
            self._task.cancel()

    def abandon(self) -> None:
        """Ends the reply without a word: nobody listens any more."""
        self._task.cancel()

    async def _run(self) -> None:
        try:
            await self._send(await self._generate())
        except ServiceError as error:
            await self._send(to_frame(error))
        except Exception:
            log.exception("Request %s failed", self._request_id)
            await self._send(to_frame(InternalError()))

    async def _generate(self) -> Frame:
        """Streams the reply; returns its done frame."""
        stream = None
        try:
            stream = await self._start()
            finish_reason = await self._relay(stream)
        except asyncio.CancelledError:
            if not self._stopped:
                raise
            finish_reason = "cancelled"
        finally:
            self._generating = False
            if stream is not None:
                stream.close()
        if stream is None:
            return self._done(finish_reason, Usage(0, 0))
        await stream.aclose()
        return self._done(finish_reason, stream.usage)

    async def _start(self) -> CompletionStream:
        try:
            request = parse_chat_request({**self._frame.body, "stream": True})
            if request.sampling.n != 1:
                raise BadRequest("The playground shows one answer: leave 'n' out.", param="n")
            if request.tools is not None:
                raise BadRequest("The playground shows text: leave 'tools' out.", param="tools")
        except BadRequest as error:
            raise await refuse(
                self._caller, error, request_id=self._request_id, endpoint=SOCKET_PATH
            ) from error
        return await start_completion(
            self._caller, request, request_id=self._request_id, endpoint=SOCKET_PATH
        )

    async def _relay(self, stream: CompletionStream) -> str:
        """Sends what the model writes as it comes. Returns the finish reason.

        While a frame waits to be sent, tokens gather in the stream; all of them go into the next frame.
        So a slow socket gets fewer frames, and never more than one reply's text lies in memory.
        """
        await self._send({"type": "started", "request_id": stream.request_id, "model": stream.model})
        text, sent_at, finish_reason = "", 0.0, ""
        async for delta in stream:
            self._pace.token_came()
            text += delta.text
            finish_reason = delta.finish_reason or finish_reason
            if self._pace.last - sent_at >= SEND_INTERVAL or finish_reason:
                tokens = stream.usage.completion_tokens
                await self._send({"type": "delta", "text": text, "completion_tokens": tokens})
                text, sent_at = "", time.monotonic()
        return finish_reason

    def _done(self, finish_reason: str, usage: Usage) -> Frame:
        return {
            "type": "done",
            "finish_reason": finish_reason,
            "usage": asdict(usage),
            "ttft_ms": self._pace.ttft_ms,
            "tokens_per_second": self._pace.tokens_per_second(usage.completion_tokens),
        }

    async def _send(self, frame: Frame) -> None:
        await self._send_frame({**frame, "id": self._frame.id})
