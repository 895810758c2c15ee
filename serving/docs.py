"""What the API says of itself: its schema, and the page that shows it in the reader's language."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

from django.utils import translation
from django.views.generic import TemplateView
from drf_spectacular.generators import SchemaGenerator


@functools.cache
def openapi_schema() -> dict[str, Any]:
    """Of every address of the site that is answered by REST framework: /v1 and /api/v1. In English, for
    programs; whoever asks for it first waits a second."""
    with translation.override("en"):
        generator = SchemaGenerator()  # type: ignore[no-untyped-call]
        schema: dict[str, Any] = generator.get_schema(public=True)  # type: ignore[no-untyped-call]
    return schema


def texts() -> set[str]:
    """What the schema says to people. Examples are what programs send and get."""
    schema = openapi_schema()
    tags = {tag["name"] for tag in schema["tags"]}
    return {schema["info"]["description"], *tags, *_said(schema["paths"]), *_said(schema["components"])}


def _said(node: Any, name: str = "") -> Iterator[str]:
    match node:
        case dict():
            for key, value in node.items():
                if key not in ("example", "examples"):
                    yield from _said(value, key)
        case list():
            for value in node:
                yield from _said(value)
        case str() if node and name in ("summary", "description", "title"):
            yield node


class DocsPage(TemplateView):
    """Swagger UI over /v1/openapi.json."""

    template_name = "serving/docs.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        translated = {text: said for text in texts() if (said := translation.gettext(text)) != text}
        return super().get_context_data(**kwargs, translated=translated)
