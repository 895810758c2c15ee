"""daphne in this process, with three things that it has no settings for: it keeps no more of a body than
BodyLimit needs to see, its own refusals have OpenAI's shape, and a stop lets streams say why they end."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import daphne.http_protocol
from daphne.endpoints import build_endpoint_description_strings
from daphne.server import Server
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from serving.asgi import body_limit
from serving.errors import BadRequest, InternalError, error_body
from serving.middleware import HEADER, new_request_id

CHUNK = 64 * 1024  # bytes of a body that go to the application at a time


class BoundedRequest(daphne.http_protocol.WebRequest):  # type: ignore[misc]  # daphne has no types
    """daphne reads a body to its end before it calls the application; of a body over the limit this keeps
    one byte more than that, which is enough to see it. Nor does it read forms: that is Django's work."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Twisted would answer a form that it cannot read itself, with nothing but "400 Bad Request".
        super().__init__(*args, **{**kwargs, "parsePOSTFormSubmission": False})

    def handleContentChunk(self, data: bytes) -> None:
        # Twisted tells the request its address only after the body, but the connection knows it.
        path = getattr(self.channel, "_path", b"").partition(b"?")[0].decode("latin-1")
        room = body_limit(path) + 1 - self.content.tell()
        super().handleContentChunk(data[:room] if room < len(data) else data)

    def basic_error(self, status: int, status_text: bytes, body: str) -> None:
        error = BadRequest(f"{body}.") if status < 500 else InternalError()
        headers = [
            (b"Content-Type", b"application/json"),
            (HEADER.encode(), new_request_id().encode()),
        ]
        self.handle_reply({"type": "http.response.start", "status": status, "headers": headers})
        self.handle_reply({"type": "http.response.body", "body": json.dumps(error_body(error)).encode()})


class PatientServer(Server):  # type: ignore[misc]  # daphne has no types
    """daphne cancels what is being answered as soon as it is told to stop; this lets it end first."""

    def __init__(self, *args: Any, before_stop: Callable[[], None], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._before_stop = before_stop

    def kill_all_applications(self) -> Deferred[Any]:
        stopped: Deferred[Any] = deferToThread(self._before_stop)
        stopped.addBoth(lambda _: super(PatientServer, self).kill_all_applications())
        return stopped


def serve(application: Any, host: str, port: int, before_stop: Callable[[], None]) -> None:
    """Until SIGINT or SIGTERM. ``before_stop`` then runs on a thread, while answers still go out."""
    daphne.http_protocol.WebRequest = BoundedRequest
    server = PatientServer(
        application=application,
        endpoints=build_endpoint_description_strings(host=host, port=port),
        request_buffer_size=CHUNK,
        server_name="",
        before_stop=before_stop,
    )
    server.run()
