"""Strict fields of a JSON body: each one parses a value and describes it to OpenAPI.

Strict: no ``true`` for 1, no ``"1"`` for 1, no field that nobody knows. A value that does not fit is a
``BadRequest`` that names the field by its path, as in ``messages[1].content``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from serving.errors import BadRequest, UnknownParameter, UnsupportedParameter

Parse = Callable[[Any, str], Any]


@dataclass(frozen=True, slots=True)
class Field:
    """``parse(value, path)`` returns what the value means, or raises BadRequest. ``default`` is for a
    field that is absent or null; ``required`` ones have none."""

    parse: Parse
    schema: Mapping[str, Any]
    required: bool = False
    default: Any = None

    def described(self) -> dict[str, Any]:
        if self.required or self.default is None:
            return dict(self.schema)
        return {**self.schema, "default": self.default}


@dataclass(frozen=True, slots=True)
class Refused:
    """A field of OpenAI's or vLLM's that this server cannot honour. ``harmless`` values ask for nothing
    more than is done anyway; clients send them."""

    instead: str
    harmless: tuple[Any, ...] = ()

    def accepts(self, value: Any) -> bool:
        return value is None or any(type(value) is type(v) and value == v for v in self.harmless)


def integer(low: int, high: int, default: int | None = None, about: str = "") -> Field:
    def parse(value: Any, path: str) -> int:
        if type(value) is not int:
            raise wrong_type(path, "an integer", value)
        _check_range(value, low, high, path)
        return value

    schema = {"type": "integer", "minimum": low, "maximum": high, "description": about}
    return Field(parse, schema, default=default)


def number(low: float, high: float, default: float | None = None, about: str = "") -> Field:
    def parse(value: Any, path: str) -> float:
        if type(value) not in (int, float):
            raise wrong_type(path, "a number", value)
        _check_range(value, low, high, path)
        return float(value)

    schema = {"type": "number", "minimum": low, "maximum": high, "description": about}
    return Field(parse, schema, default=default)


def boolean(default: bool = False, about: str = "") -> Field:
    return Field(parse_boolean, {"type": "boolean", "description": about}, default=default)


def string(about: str = "", *, required: bool = False, choices: tuple[str, ...] = ()) -> Field:
    def parse(value: Any, path: str) -> str:
        text = parse_text(value, path)
        if choices and text not in choices:
            allowed = ", ".join(f"'{choice}'" for choice in choices)
            raise BadRequest(f"'{path}' must be one of {allowed}; not '{text}'.", param=path)
        return text

    schema: dict[str, Any] = {"type": "string", "description": about}
    if choices:
        schema["enum"] = list(choices)
    return Field(parse, schema, required=required)


def identifier(about: str = "", *, required: bool = False) -> Field:
    """Of something in the database."""
    return Field(parse_plain, {"type": "string", "description": about}, required=required)


def parse_boolean(value: Any, path: str) -> bool:
    if type(value) is not bool:
        raise wrong_type(path, "true or false", value)
    return value


def parse_text(value: Any, path: str) -> str:
    if not isinstance(value, str):
        raise wrong_type(path, "a string", value)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadRequest(f"'{path}' holds half of a surrogate pair: it is not text.", param=path) from None
    return value


def parse_plain(value: Any, path: str) -> str:
    """Text that a database takes: PostgreSQL neither keeps a NUL nor looks for one."""
    text = parse_text(value, path)
    if "\0" in text:
        raise BadRequest(f"'{path}' must hold no NUL characters.", param=path)
    return text


def parse_fields(
    body: Any, fields: Mapping[str, Field | Refused], ignored: frozenset[str], at: str = ""
) -> dict[str, Any]:
    """The values of an object, with defaults for what is absent or null; ``at`` is its own path."""
    if not isinstance(body, dict):
        raise wrong_type(at, "an object", body) if at else BadRequest("The body must be a JSON object.")
    prefix = f"{at}." if at else ""
    for name, value in body.items():
        field = fields.get(name)
        if field is None and name not in ignored:
            raise UnknownParameter(prefix + name)
        if isinstance(field, Refused) and not field.accepts(value):
            raise UnsupportedParameter(prefix + name, field.instead)
    return {
        name: _parse_field(field, body.get(name), prefix + name)
        for name, field in fields.items()
        if isinstance(field, Field)
    }


def object_schema(fields: Mapping[str, Field | Refused]) -> dict[str, Any]:
    """What OpenAPI says of an object that ``fields`` parse."""
    honoured = {name: field for name, field in fields.items() if isinstance(field, Field)}
    required = [name for name, field in honoured.items() if field.required]
    described = {name: field.described() for name, field in honoured.items()}
    return {"type": "object", "properties": described, **({"required": required} if required else {})}


def wrong_type(path: str, wanted: str, value: Any) -> BadRequest:
    return BadRequest(f"'{path}' must be {wanted}, not {_kind(value)}.", param=path)


def missing_parameter(path: str) -> BadRequest:
    return BadRequest(f"Missing required parameter: '{path}'.", param=path, code="missing_required_parameter")


def _parse_field(field: Field, value: Any, path: str) -> Any:
    if value is not None:
        return field.parse(value, path)
    if field.required:
        raise missing_parameter(path)
    return field.default


def _check_range(value: float, low: float, high: float, path: str) -> None:
    if not low <= value <= high:
        raise BadRequest(f"'{path}' must be from {low} to {high}; not {value}.", param=path)


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "an array"
        case _:
            return "an object"
