"""What travels over the playground's websocket: JSON objects in text frames, told apart by ``type``.

Client to server::

    {"type": "chat", "id": "1", "request": {...}}   request: the body of /v1/chat/completions
    {"type": "stop"}                                ends the running reply

Server to client; ``id`` is that of the chat frame, null where there was none to read::

    {"type": "models", "models": [{"name", "state", "progress", "reason", "context_length"}]}
    {"type": "started", "id", "request_id", "model"}
    {"type": "delta", "id", "text", "completion_tokens"}      completion_tokens: the total so far
    {"type": "done", "id", "finish_reason", "usage", "ttft_ms", "tokens_per_second"}
    {"type": "error", "id", "error": {"message", "type", "param", "code"}}

``finish_reason`` is the API's, or "cancelled" after a stop frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from serving.errors import BadRequest
from serving.schemas import parse_json

SOCKET_PATH = "/ws/playground/"  # also the endpoint in the records of usage

MAX_FRAME_CHARS = 256 * 1024
MAX_MESSAGES = 1000
MAX_ID_CHARS = 64

Frame = dict[str, Any]


class BadFrame(BadRequest):
    """A frame that cannot be understood. The socket stays usable."""

    code = "invalid_frame"


class FrameTooLarge(BadFrame):
    """A frame or conversation over the bounds of this file."""

    code = "frame_too_large"


class ReplyInProgress(BadFrame):
    """A chat frame while a reply is still being written."""

    code = "reply_in_progress"

    def __init__(self) -> None:
        super().__init__("A reply is still being written on this socket: stop it, or wait for its end.")


@dataclass(frozen=True, slots=True)
class ChatFrame:
    """Asks for a reply. ``body`` is not parsed yet: `serving.schemas` does that."""

    id: str
    body: Frame


@dataclass(frozen=True, slots=True)
class StopFrame:
    """Asks to end the running reply."""


def parse_frame(text: str | None) -> ChatFrame | StopFrame:
    """A client's frame, None for a binary one. Raises ``BadRequest``."""
    frame = _decode(text)
    match frame.get("type"):
        case "chat":
            return _parse_chat(frame)
        case "stop":
            return StopFrame()
        case str() as unknown:
            raise BadFrame(
                f"There is no frame type {unknown[:MAX_ID_CHARS]!r}; send chat or stop.", param="type"
            )
        case _:
            raise BadFrame("Give the frame a type: chat or stop.", param="type")


def _decode(text: str | None) -> Frame:
    if text is None:
        raise BadFrame("Send text frames; this one was binary.")
    if len(text) > MAX_FRAME_CHARS:
        raise FrameTooLarge(f"A frame may have {MAX_FRAME_CHARS} characters; this one has {len(text)}.")
    frame = parse_json(text)
    if not isinstance(frame, dict):
        raise BadFrame("A frame must be a JSON object.")
    return frame


def _parse_chat(frame: Frame) -> ChatFrame:
    match frame:
        case {"id": str() as id} if 0 < len(id) <= MAX_ID_CHARS:
            pass
        case _:
            raise BadFrame(f"Give the frame an id, a string of 1 to {MAX_ID_CHARS} characters.", param="id")
    body = frame.get("request")
    if not isinstance(body, dict):
        raise BadFrame("request must be an object, the body of a chat completion.", param="request")
    messages = body.get("messages")
    if isinstance(messages, list) and len(messages) > MAX_MESSAGES:
        raise FrameTooLarge(f"A chat may have {MAX_MESSAGES} messages.", param="messages")
    return ChatFrame(id, body)
