"""What the API says of itself: its schema, and the page that shows it in the reader's language."""

from __future__ import annotations

import functools
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
    """What the schema says about all of it and about each operation. Its fields speak English everywhere."""
    schema = openapi_schema()
    found = {schema["info"]["description"], *(tag["name"] for tag in schema["tags"])}
    for operations in schema["paths"].values():
        for operation in operations.values():
            found |= {operation["summary"], operation.get("description", "")}
    return found - {""}


class DocsPage(TemplateView):
    """Swagger UI over /v1/openapi.json."""

    template_name = "serving/docs.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        translated = {text: translation.gettext(text) for text in texts()}
        return super().get_context_data(**kwargs, translated=translated)
