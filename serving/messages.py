"""What is said in a conversation, and how all APIs read it: each has its own tables, made of these parts."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from serving.errors import BadRequest, UnsupportedParameter
from serving.fields import Field, Parse, Refused, object_schema, parse_fields, parse_text, string, wrong_type

Item = TypeVar("Item")
# How a chat's prompt ends: ready for an answer, for more of the last message, or with that message.
Tail = Literal["answer", "continue", "end"]

READS_TEXT = "Its models read text."


@dataclass(frozen=True, slots=True)
class ToolCall:
    """``arguments`` is what the model wrote: a JSON object, unless it was cut short."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    """``calls`` are an assistant's; ``call_id`` says which of them a message of the role "tool" answers."""

    role: str
    content: str
    calls: tuple[ToolCall, ...] = ()
    call_id: str = ""

    @property
    def characters(self) -> int:
        """How long it is, at the least, in a prompt."""
        return len(self.content) + sum(len(call.arguments) for call in self.calls)


def parse_array(value: Any, path: str, parse: Callable[[Any, str], Item], of: str) -> tuple[Item, ...]:
    """At least one; ``of`` says what, in the plural."""
    if not isinstance(value, list):
        raise wrong_type(path, f"an array of {of}", value)
    if not value:
        raise BadRequest(f"'{path}' must hold at least one of its {of}.", param=path)
    return tuple(parse(item, f"{path}[{i}]") for i, item in enumerate(value))


def text_or_parts(
    about: str,
    kinds: tuple[str, ...],
    others: Collection[str],
    ignored: frozenset[str] = frozenset(),
    *,
    required: bool = True,
) -> Field:
    """A text, or its parts of one of the ``kinds``, which are put together; ``others`` are the kinds of
    parts that no text model can read, ``ignored`` is what a part may have besides its text."""
    fields: dict[str, Field | Refused] = {
        "type": string(required=True, choices=kinds),
        "text": string(required=True),
    }

    def parse_part(value: Any, path: str) -> str:
        if isinstance(value, dict) and value.get("type") in tuple(others):  # it need not be hashable
            raise UnsupportedParameter(f"{path}.type", READS_TEXT)
        text: str = parse_fields(value, fields, ignored, at=path)["text"]
        return text

    parts = {"type": "array", "items": object_schema(fields)}
    schema = {"description": about, "oneOf": [{"type": "string"}, parts]}
    return Field(_string_or(parse_part), schema, required=required)


def _string_or(parse_part: Callable[[Any, str], str]) -> Parse:
    def parse(value: Any, path: str) -> str:
        if isinstance(value, list):
            return "".join(parse_part(part, f"{path}[{i}]") for i, part in enumerate(value))
        if not isinstance(value, str):
            raise wrong_type(path, "a string or an array of text parts", value)
        return parse_text(value, path)

    return parse
