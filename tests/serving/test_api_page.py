"""docs/api.md says of every parameter what the code does with it."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest

from serving.anthropic.schemas import COUNT_FIELDS, MESSAGES_FIELDS
from serving.anthropic.schemas import IGNORED as IGNORED_BY_MESSAGES
from serving.batches.schemas import BATCH_FIELDS, UPLOAD_FIELDS
from serving.chat.schemas import CHAT_FIELDS
from serving.embeddings import EMBEDDINGS_FIELDS
from serving.embeddings import IGNORED as IGNORED_BY_EMBEDDINGS
from serving.fields import Field, Refused
from serving.responses.schemas import IGNORED as IGNORED_BY_RESPONSES
from serving.responses.schemas import RESPONSE_FIELDS
from serving.schemas import COMPLETION_FIELDS, IGNORED
from serving.tokens import DETOKENIZE_FIELDS, TOKENIZE_FIELDS
from serving.urls import api_urlpatterns
from tests.environment import REPOSITORY

PAGE = (REPOSITORY / "docs" / "api.md").read_text()
TABLES: dict[str, tuple[Mapping[str, Field | Refused], frozenset[str]]] = {
    "/v1/completions": (COMPLETION_FIELDS, IGNORED),
    "/v1/chat/completions": (CHAT_FIELDS, IGNORED),
    "/v1/messages": (MESSAGES_FIELDS, IGNORED_BY_MESSAGES),
    "/v1/messages/count_tokens": (COUNT_FIELDS, IGNORED_BY_MESSAGES),
    "/v1/responses": (RESPONSE_FIELDS, IGNORED_BY_RESPONSES),
    "/v1/embeddings": (EMBEDDINGS_FIELDS, IGNORED_BY_EMBEDDINGS),
    "/v1/files": (UPLOAD_FIELDS, frozenset()),
    "/v1/batches": (BATCH_FIELDS, frozenset()),
    "/v1/tokenize": (TOKENIZE_FIELDS, frozenset()),
    "/v1/detokenize": (DETOKENIZE_FIELDS, frozenset()),
}


def section(path: str) -> str:
    return re.split(rf"^## `(?:GET|POST) {re.escape(path)}`$", PAGE, flags=re.MULTILINE)[1].split("\n## ")[0]


def test_every_endpoint_has_a_section() -> None:
    routes = {"/" + re.sub(r"<\w+:(\w+)>", r"{\1}", str(pattern.pattern)) for pattern in api_urlpatterns}
    assert set(re.findall(r"^## `(?:GET|POST) (\S+)`$", PAGE, re.MULTILINE)) == routes
    assert set(TABLES) <= routes


@pytest.mark.parametrize("path", TABLES)
def test_every_parameter_is_told_as_it_is_treated(path: str) -> None:
    fields, ignored = TABLES[path]
    treated = {name: "honoured" if isinstance(field, Field) else "refused" for name, field in fields.items()}
    treated |= dict.fromkeys(ignored, "ignored")
    rows = re.findall(r"^\| `(\w+)` \| (honoured|ignored|refused) \|", section(path), re.MULTILINE)
    assert dict(rows) == treated
    assert len(rows) == len(treated)
