"""Programs to copy and run: those of docs/examples, with this site's address and a model that it serves."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from django.conf import settings
from django.http import HttpRequest
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from console.snippets import MODEL, Snippet, base_url
from serving import runtime

FOLDER = settings.BASE_DIR / "docs" / "examples"
LANGUAGES = (  # a file's ending, the tab and what it says, highlight.js's name
    ("sh", "curl", "curl", "bash"),
    ("py", "python", "Python", "python"),
    ("mjs", "javascript", "JavaScript", "javascript"),
)
ADDRESS, QUESTION = "http://127.0.0.1:8000", "What is machine learning?"  # as the files have them
QUESTION_IN_CHINESE = "请解释什么是机器学习?"


@dataclass(frozen=True, slots=True)
class Topic:
    """What a program does; ``name`` is that of its files."""

    name: str
    title: str | Promise
    about: str | Promise


TOPICS = (
    Topic("chat", _("Chat"), _("One question, one answer.")),
    Topic("streaming", _("Streaming"), _("The answer as it is written, piece by piece.")),
    Topic(
        "structured", _("Structured output"), _("An answer that follows a JSON schema, whatever the model.")
    ),
    Topic(
        "embeddings",
        _("Embeddings"),
        _("Texts as vectors: the more alike two texts are, the larger their dot product."),
    ),
    Topic("batches", _("Batches"), _("Many requests in one file, answered when nobody else waits.")),
    Topic("responses", _("Responses"), _("A conversation that the server remembers for 30 days.")),
    Topic("messages", _("Messages"), _("For programs that were written for Anthropic's API.")),
)


def model_names() -> list[str]:
    """What can be asked for, the name in the files first if this site has it."""
    names = [name for status in runtime.status() for name in (*status.spec.aliases, status.name)]
    return sorted(names, key=lambda name: name != MODEL)


def snippets_of(name: str, request: HttpRequest, model: str = MODEL) -> list[Snippet]:
    """The program ``name`` in every language, ready to paste."""
    question = QUESTION_IN_CHINESE if request.LANGUAGE_CODE.startswith("zh") else QUESTION
    put = {ADDRESS: base_url(request), MODEL: model, QUESTION: question}
    snippets = []
    for ending, tab, label, language in LANGUAGES:
        code = _read(name, ending)
        for written, filled_in in put.items():
            code = code.replace(written, filled_in)
        snippets.append(Snippet(tab, label, language, code))
    return snippets


@cache
def _read(name: str, ending: str) -> str:
    return (FOLDER / f"{name}.{ending}").read_text(encoding="utf-8").strip()
