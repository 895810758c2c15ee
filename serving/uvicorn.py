"""uvicorn in this process, with what it has no settings for: its own refusals have OpenAI's shape, headers
have a limit, and a stop lets streams say why they end."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving.errors import BadRequest, to_response
from serving.middleware import HEADER, new_request_id

KEEP_ALIVE = 75  # seconds that a connection may idle; longer than clients keep theirs, which then close first
FINISH_WITHIN = 5  # seconds for answers under way, once everything that generates has been told to stop
HEADER_LIMIT = 64 * 1024  # bytes of all the headers of a request


class Protocol(HttpToolsProtocol):
    """One connection."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._header_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > HEADER_LIMIT:
            raise ValueError("too many headers")  # a broken request to the parser: send_400_response
        super().on_header(name, value)

    def send_400_response(self, msg: str) -> None:
        response = to_response(BadRequest("The request cannot be read."))
        response[HEADER] = new_request_id()
        response["Content-Length"] = str(len(response.content))
        response["Connection"] = "close"
        head = "".join(f"{name}: {value}\r\n" for name, value in response.items())
        self.transport.write(b"HTTP/1.1 400 Bad Request\r\n" + head.encode() + b"\r\n" + response.content)
        self.transport.close()


class Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, before_stop: Callable[[], None]) -> None:
        super().__init__(config)
        self._before_stop = before_stop

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if sig == signal.SIGINT and self.should_exit:
            self.force_exit = True
        self.should_exit = True  # uvicorn's own would raise the signal once more at the end

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        await asyncio.to_thread(self._before_stop)
        await super().shutdown(sockets)


def serve(application: Any, host: str, port: int, before_stop: Callable[[], None]) -> None:
    """Until SIGINT or SIGTERM. ``before_stop`` then runs on a thread, while answers still go out."""
    config = uvicorn.Config(
        application,
        host=host,
        port=port,
        http=Protocol,
        ws="websockets-sansio",
        loop="uvloop",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=FINISH_WITHIN,
    )
    Server(config, before_stop).run()
