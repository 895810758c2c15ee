"""The page. What it says to the model goes over the websocket (consumer.py)."""

from __future__ import annotations

from typing import NamedTuple

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from playground.frames import SOCKET_PATH
from playground.strings import STRINGS


class Suggestion(NamedTuple):
    """A prompt to start with."""

    title: Promise
    prompt: Promise


class CodeTab(NamedTuple):
    """A language in which the request is shown. ``id`` is the name in snippets.js."""

    id: str
    label: str


SUGGESTIONS = [
    Suggestion(_("Explain"), _("Explain what machine learning is to a ten-year-old.")),
    Suggestion(_("Write"), _("Write a short, friendly email that moves a meeting to Friday.")),
    Suggestion(_("Code"), _("Write a Python function that checks whether a word is a palindrome.")),
    Suggestion(_("List"), _("Give me five ideas for a rainy Sunday, as a list.")),
]
CODE_TABS = [
    CodeTab("curl", "curl"),
    CodeTab("python", "Python"),
    CodeTab("openai", "openai"),
    CodeTab("javascript", "JavaScript"),
]


@login_required
def chat(request: HttpRequest) -> HttpResponse:
    return render(
        request,
        "playground/chat.html",
        {
            "socket_path": SOCKET_PATH,
            "strings": STRINGS,
            "suggestions": SUGGESTIONS,
            "code_tabs": CODE_TABS,
        },
    )
