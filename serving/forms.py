"""The form that an answer must have: OpenAI's ``response_format`` and vLLM's ``guided_...`` fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from serving.errors import BadRequest
from serving.fields import Field, Refused, boolean, parse_fields, parse_text, string, wrong_type

if TYPE_CHECKING:  # importing it takes transformers along, which the site can start without
    from serving.engine.sampling.structured import GrammarKind


@dataclass(frozen=True, slots=True)
class Form:
    """``source`` is what the engine's compiler takes for its ``kind``; ``param`` is the field it came in."""

    kind: GrammarKind
    source: Any
    param: str


def take_form(values: Mapping[str, Any]) -> Form | None:
    """The one form among a body's values. Raises BadRequest when there are more."""
    forms: list[Form] = [values[name] for name in FORM_FIELDS if values.get(name) is not None]
    if len(forms) > 1:
        message = f"'{forms[0].param}' and '{forms[1].param}' exclude each other."
        raise BadRequest(message, param=forms[1].param)
    return forms[0] if forms else None


def _parse_response_format(value: Any, path: str) -> Form | None:
    values = parse_fields(value, FORMAT_FIELDS, frozenset(), at=path)
    if values["type"] == "json_schema" and values["json_schema"] is None:
        raise BadRequest(f"Missing required parameter: '{path}.json_schema'.", param=f"{path}.json_schema")
    match values["type"]:
        case "text":
            return None
        case "json_object":
            return Form("json_object", None, path)
        case _:
            return Form("json_schema", values["json_schema"]["schema"], f"{path}.json_schema.schema")


def _parse_json_schema(value: Any, path: str) -> dict[str, Any]:
    return parse_fields(value, JSON_SCHEMA_FIELDS, frozenset(), at=path)


def _parse_schema(value: Any, path: str) -> Any:
    if not isinstance(value, dict | bool):
        raise wrong_type(path, "a JSON Schema", value)
    return value


def _parse_guided_json(value: Any, path: str) -> Form:
    if not isinstance(value, str | dict):
        raise wrong_type(path, "a JSON Schema", value)
    return Form("json_schema", value, path)


def _parse_guided_regex(value: Any, path: str) -> Form:
    return Form("regex", parse_text(value, path), path)


def _parse_guided_grammar(value: Any, path: str) -> Form:
    grammar = parse_text(value, path)
    if not grammar.strip():
        raise BadRequest(f"'{path}' must not be empty.", param=path)
    return Form("lark", grammar, path)


def _parse_guided_choice(value: Any, path: str) -> Form:
    if not isinstance(value, list):
        raise wrong_type(path, "an array of strings", value)
    choices = [parse_text(choice, f"{path}[{i}]") for i, choice in enumerate(value)]
    if not choices or "" in choices:
        raise BadRequest(f"'{path}' must hold strings that are not empty.", param=path)
    return Form("choice", choices, path)


def _form(parse: Callable[[Any, str], Form | None], schema: Mapping[str, Any], about: str) -> Field:
    return Field(parse, {**schema, "description": about})


JSON_SCHEMA_FIELDS: dict[str, Field | Refused] = {
    "name": string("Its name, for you.", required=True),
    "description": string("What it is for."),
    "schema": Field(_parse_schema, {"description": "A JSON Schema."}, default={}),
    "strict": boolean(about="The answer always follows the schema, strict or not."),
}
FORMAT_FIELDS: dict[str, Field | Refused] = {
    "type": string(required=True, choices=("text", "json_object", "json_schema")),
    "json_schema": Field(_parse_json_schema, {"type": "object"}),
}
FORM_FIELDS: dict[str, Field | Refused] = {
    "response_format": _form(
        _parse_response_format,
        {
            "type": "object",
            "properties": {
                "type": {"type": "string", "enum": ["text", "json_object", "json_schema"]},
                "json_schema": {"type": "object"},
            },
            "required": ["type"],
        },
        "JSON, or JSON that follows a schema.",
    ),
    "guided_json": _form(
        _parse_guided_json,
        {"oneOf": [{"type": "object"}, {"type": "string"}]},
        "A JSON Schema that the answer follows (vLLM's).",
    ),
    "guided_regex": _form(
        _parse_guided_regex, {"type": "string"}, "A regular expression that the answer matches (vLLM's)."
    ),
    "guided_choice": _form(
        _parse_guided_choice,
        {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1},
        "The answer is one of these (vLLM's).",
    ),
    "guided_grammar": _form(
        _parse_guided_grammar,
        {"type": "string", "minLength": 1},
        "A Lark grammar that the answer follows, from its rule `start` on (vLLM's).",
    ),
}
