"""Responses that can be read again and gone on with, for 30 days, by whoever asked for them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.utils import timezone

from serving.errors import BadRequest, NotFound
from serving.messages import Message, ToolCall
from serving.models import StoredResponse

KEPT_FOR = timedelta(days=30)  # as OpenAI keeps them


async def keep(owner: int, body: dict[str, Any], conversation: Iterable[Message]) -> None:
    turns = [_row(message) for message in conversation]
    await StoredResponse.objects.filter(created_at__lt=timezone.now() - KEPT_FOR).adelete()
    # A line of a batch that is answered again has the same id again.
    await StoredResponse.objects.abulk_create(
        [StoredResponse(id=body["id"], owner_id=owner, body=body, conversation=turns)],
        update_conflicts=True,
        unique_fields=["id"],
        update_fields=["body", "conversation"],
    )


async def find(owner: int, response_id: str) -> dict[str, Any]:
    """Raises NotFound."""
    body: dict[str, Any] = (await _find(owner, response_id)).body
    return body


async def forget(owner: int, response_id: str) -> None:
    """Raises NotFound."""
    await (await _find(owner, response_id)).adelete()


async def conversation(owner: int, response_id: str) -> tuple[Message, ...]:
    """Up to the end of that response. Raises BadRequest."""
    try:
        stored = await _find(owner, response_id)
    except NotFound as error:
        raise BadRequest(
            f"Previous response with id '{response_id}' not found.",
            param="previous_response_id",
            code="previous_response_not_found",
        ) from error
    return tuple(_message(*row) for row in stored.conversation)


def _row(message: Message) -> list[Any]:
    calls = [[call.id, call.name, call.arguments] for call in message.calls]
    return [message.role, message.content, calls, message.call_id]


def _message(role: str, content: str, calls: Iterable[list[str]] = (), call_id: str = "") -> Message:
    return Message(role, content, tuple(ToolCall(*call) for call in calls), call_id)


async def _find(owner: int, response_id: str) -> StoredResponse:
    kept = StoredResponse.objects.filter(created_at__gte=timezone.now() - KEPT_FOR)
    stored = await kept.filter(owner_id=owner, id=response_id).afirst()
    if stored is None:
        raise NotFound(f"Response with id '{response_id}' not found.", param="response_id")
    return stored
