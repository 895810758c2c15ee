from __future__ import annotations

import json

import pytest

from apikeys.errors import RateLimited, ServiceError
from serving import errors
from serving.engine import errors as engine

BODY = {"error": {"message": "no", "type": "invalid_request_error", "param": "n", "code": None}}


def test_the_three_renderings_hold_the_same_body() -> None:
    error = errors.BadRequest("no", param="n")
    assert json.loads(errors.to_response(error).content) == BODY
    assert errors.to_sse(error) == b"data: " + json.dumps(BODY).encode() + b"\n\n"
    assert errors.to_frame(error) == {"type": "error", **BODY}


def test_an_http_answer_has_the_status_and_headers_of_its_error() -> None:
    response = errors.to_response(RateLimited("wait", headers={"Retry-After": "3"}))
    assert response.status_code == 429
    assert response["Retry-After"] == "3"
    assert response["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("raised", "status", "code"),
    [
        (engine.ContextLengthExceeded("long"), 400, "context_length_exceeded"),
        (engine.InvalidRequest("bad"), 400, None),
        (engine.QueueFull(1.2), 503, "engine_overloaded"),
        (engine.EngineStopped("gone"), 503, "engine_unavailable"),
    ],
)
def test_the_engines_errors_have_a_meaning_to_callers(
    raised: engine.EngineError, status: int, code: str | None
) -> None:
    error = errors.from_engine(raised, "prompt")
    assert (error.status, error.code) == (status, code)


def test_a_full_queue_says_when_to_come_back() -> None:
    error = errors.from_engine(engine.QueueFull(1.2))
    assert error.headers == {"Retry-After": "2", "retry-after-ms": "1200"}


def test_every_error_is_drawn_in_the_tree() -> None:
    def below(cls: type[ServiceError]) -> set[type[ServiceError]]:
        return {cls}.union(*(below(child) for child in cls.__subclasses__()))

    ours = {cls for cls in below(ServiceError) if cls.__module__ in ("serving.errors", "apikeys.errors")}
    assert all(cls.__name__ in (errors.__doc__ or "") for cls in ours)


def test_half_of_a_surrogate_pair_in_a_message_can_be_sent() -> None:
    response = errors.to_response(errors.ModelNotFound("\ud800"))
    assert json.loads(response.content)["error"]["code"] == "model_not_found"
