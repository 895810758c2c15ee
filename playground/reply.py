"""One reply: from a chat frame to its done or error frame."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from apikeys.auth import Caller
from apikeys.errors import ServiceError
from playground.frames import ChatFrame, Frame
from serving.completions import CompletionStream, start_completion
from serving.errors import BadRequest, InternalError, to_frame
from serving.schemas import ChatRequest, parse_chat_request

ENDPOINT = "playground"

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
    read. However it ends, the stream is closed before the last frame goes out."""

    def __init__(self, frame: ChatFrame, caller: Caller, send: Send) -> None:
        self._frame = frame
        self._caller = caller
        self._request_id = uuid.uuid4().hex
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
            request = self._parse()
            stream = await start_completion(
                self._caller, request, request_id=self._request_id, endpoint=ENDPOINT
            )
            finish_reason = await self._relay(stream)
        except asyncio.CancelledError:
            if not self._stopped:
                raise
            finish_reason = "cancelled"
        finally:
            self._generating = False
            if stream is not None:
                stream.close()
        return self._done(stream, finish_reason)

    def _parse(self) -> ChatRequest:
        request = parse_chat_request(self._frame.body)
        if request.sampling.n != 1:
            raise BadRequest("The playground shows one answer: leave 'n' out.", param="n")
        return request

    async def _relay(self, stream: CompletionStream) -> str:
        """Sends what the model writes as it comes. Returns the finish reason.

        While a frame waits to be sent, tokens gather in the stream; all of them go into the next frame.
        A slow socket so gets fewer frames, and never more than one reply's text lies in memory.
        """
        await self._send({"type": "started", "request_id": stream.request_id, "model": stream.model})
        text, sent_at, finish_reason = "", 0.0, ""
        async for delta in stream:
            self._pace.token_came()
            text += delta.text
            finish_reason = delta.finish_reason or finish_reason
            if self._pace.last - sent_at >= SEND_INTERVAL or finish_reason:
                await self._send_delta(text, stream)
                text, sent_at = "", time.monotonic()
        return finish_reason

    async def _send_delta(self, text: str, stream: CompletionStream) -> None:
        await self._send({"type": "delta", "text": text, "completion_tokens": stream.usage.completion_tokens})

    def _done(self, stream: CompletionStream | None, finish_reason: str) -> Frame:
        prompt_tokens = stream.usage.prompt_tokens if stream else 0
        completion_tokens = stream.usage.completion_tokens if stream else 0
        return {
            "type": "done",
            "finish_reason": finish_reason,
            "usage": {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens},
            "ttft_ms": self._pace.ttft_ms,
            "tokens_per_second": self._pace.tokens_per_second(completion_tokens),
        }

    async def _send(self, frame: Frame) -> None:
        await self._send_frame({**frame, "id": self._frame.id})
