"""A load generator for benchmarks/gateway.py, a process of its own so that it can have a core of its own.

    python -m benchmarks.gateway_load '{"port": ..., "path": ..., "body": ..., "key": ..., ...}'

Prints one JSON line. It speaks just enough HTTP/1.1 to be much cheaper than any server it measures.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass, field
from typing import Any

HOST = "127.0.0.1"
EVENT = b"\ndata: {"


@dataclass(frozen=True)
class Load:
    """``seconds`` of closed-loop load on ``connections`` connections; or, when ``stream``, one streamed
    answer of ``events`` events on each of them."""

    port: int
    path: str
    key: str
    body: dict[str, Any]
    connections: int
    seconds: float = 0.0
    events: int = 0

    @property
    def request(self) -> bytes:
        body = json.dumps(self.body).encode()
        head = (
            f"POST {self.path} HTTP/1.1\r\nHost: {HOST}:{self.port}\r\nAuthorization: Bearer {self.key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


class Client(asyncio.Protocol):
    """One connection that asks again as soon as it has its answer, until ``until``."""

    def __init__(self, request: bytes, until: float) -> None:
        self._request = request
        self._until = until
        self._received = b""
        self._asked = 0.0
        self.latencies: list[float] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found or len(body) < content_length(head):
            return
        now = time.perf_counter()
        if not head.startswith(b"HTTP/1.1 200"):
            self._end(RuntimeError(self._received.decode(errors="replace")))
            return
        self.latencies.append(now - self._asked)
        self._received = b""
        self._end() if now > self._until else self._ask()

    def connection_lost(self, error: Exception | None) -> None:
        self._end(error or ConnectionError("The server closed the connection."))

    def _ask(self) -> None:
        self._asked = time.perf_counter()
        self._transport.write(self._request)

    def _end(self, error: Exception | None = None) -> None:
        if self.done.done():
            return
        if error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(error)
        self._transport.close()


def content_length(head: bytes) -> int:
    _, _, rest = head.lower().partition(b"content-length:")
    return int(rest.split(b"\r\n", 1)[0])


@dataclass
class Stream:
    """One streamed answer: its id, and when each of its events had been read (``time.monotonic``)."""

    request_id: str = ""
    read_at: list[float] = field(default_factory=list)


class Listener(asyncio.Protocol):
    def __init__(self, request: bytes, events: int) -> None:
        self._request = request
        self._events = events
        self._rest = b""
        self.stream = Stream()
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        text = self._rest + data
        if not self.stream.request_id:
            head, found, text = text.partition(b"\r\n\r\n")
            if not found:
                self._rest = head
                return
            self.stream.request_id = request_id(head)
        self.stream.read_at += [now] * text.count(EVENT)
        self._rest = text[max(text.rfind(EVENT) + len(EVENT), len(text) - len(EVENT) + 1, 0) :]
        if len(self.stream.read_at) >= self._events:
            self.done.done() or self.done.set_result(None)
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(error or ConnectionError(self._rest.decode(errors="replace")))


def request_id(head: bytes) -> str:
    _, _, rest = head.lower().partition(b"x-request-id:")
    return rest.split(b"\r\n", 1)[0].strip().decode()


async def ask_again_and_again(load: Load) -> dict[str, Any]:
    started = time.perf_counter()
    clients = [
        await connect(load, Client(load.request, started + load.seconds)) for _ in range(load.connections)
    ]
    await asyncio.gather(*(client.done for client in clients))
    latencies = sorted(latency for client in clients for latency in client.latencies)
    return {
        "requests_per_second": len(latencies) / (time.perf_counter() - started),
        "p50_ms": latencies[len(latencies) // 2] * 1000,
        "p99_ms": latencies[len(latencies) * 99 // 100] * 1000,
    }


async def listen(load: Load) -> dict[str, Any]:
    listeners = [await connect(load, Listener(load.request, load.events)) for _ in range(load.connections)]
    await asyncio.gather(*(listener.done for listener in listeners))
    return {"streams": {listener.stream.request_id: listener.stream.read_at for listener in listeners}}


async def connect(load: Load, protocol: Any) -> Any:
    await asyncio.get_running_loop().create_connection(lambda: protocol, HOST, load.port)
    return protocol


if __name__ == "__main__":
    load = Load(**json.loads(sys.argv[1]))
    print(json.dumps(asyncio.run(listen(load) if load.events else ask_again_and_again(load))))
