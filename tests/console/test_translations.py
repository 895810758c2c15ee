"""Every text has its Chinese, and people get the language they ask for."""

from __future__ import annotations

import re
from pathlib import Path

import polib
import pytest
from django.conf import settings
from django.test import Client

from console.messages import Message, all_messages, messages_in
from console.models import User

FILES = sorted(settings.BASE_DIR.glob("locale/*/LC_MESSAGES/django.po"))
HAN = re.compile(r"[一-鿿]")
# In a text that has them, the translation must have them too.
PARTS = re.compile(r"%\(\w+\)[sd]|%s|\{\w+\}|</?\w+")


def test_there_is_a_chinese_file() -> None:
    assert [file.parts[-3] for file in FILES] == ["zh_Hans"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.parts[-3])
def test_every_text_is_translated(file: Path) -> None:
    done = {
        Message(entry.msgid, entry.msgid_plural) for entry in polib.pofile(str(file)) if entry.translated()
    }
    missing = {
        message.text: str(paths[0]) for message, paths in all_messages().items() if message not in done
    }
    assert missing == {}, "Run `manage.py updatemessages` and translate what it adds."


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.parts[-3])
def test_nothing_is_fuzzy_or_left_over(file: Path) -> None:
    entries = polib.pofile(str(file))
    assert [entry.msgid for entry in entries if entry.fuzzy or entry.obsolete] == []
    assert {Message(entry.msgid, entry.msgid_plural) for entry in entries} == set(all_messages())


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.parts[-3])
def test_translations_keep_variables_and_tags(file: Path) -> None:
    for entry in polib.pofile(str(file)):
        source = entry.msgid_plural or entry.msgid
        for text in entry.msgstr_plural.values() or [entry.msgstr]:
            assert sorted(PARTS.findall(text)) == sorted(PARTS.findall(source)), entry.msgid


def test_extraction_finds_texts_of_all_kinds(tmp_path: Path) -> None:
    template = tmp_path / "page.html"
    template.write_text(
        """{% load i18n %}{% translate "It's one" %}<a title="{% translate 'Two' %}">{% if x == _("Three") %}
        {% blocktranslate trimmed count n=n %}
          {{ n }} day
        {% plural %}
          {{ n }} days
        {% endblocktranslate %}{% endif %}</a>"""
    )
    module = tmp_path / "module.py"
    module.write_text('a = _("Four") + gettext_lazy("Fi" "ve") + ngettext("one", "many", 3)')
    assert messages_in(template) == {
        Message("It's one"),
        Message("Two"),
        Message("Three"),
        Message("%(n)s day", "%(n)s days"),
    }
    assert messages_in(module) == {Message("Four"), Message("Five"), Message("one", "many")}


PAGES = [
    "/",
    "/docs/",
    "/examples/",
    "/accounts/login/",
    "/accounts/signup/",
    "/accounts/password/reset/",
    "/nothing-here/",
]
SIGNED_IN = [
    "/console/",
    "/console/keys/",
    "/console/projects/",
    "/console/audit/",
    "/console/blocked/",
    "/console/usage/",
    "/console/batches/",
    "/console/models/",
    "/console/people/",
    "/console/prices/",
    "/accounts/password/change/",
    "/accounts/logout/",
]
# Words that are the same in Chinese: names, code, units.
SAME = re.compile(
    r"Open-AutoGLM|Base URL|Anthropic|JSON Schema|JavaScript|Node|Console|English|OpenAI|openai|API|CSV|URL|UTC|curl|Python|YOUR_API_KEY|p50|p95|USD|ms|models.toml|SIGNUP|token|Token|TTFT|https?://\S+"
)


def english_left_in(page: str) -> list[str]:
    """Words of two or more letters in what a reader sees, code and people's own words aside."""
    page = re.sub(
        r"<(script|style|code|pre|option)\b.*?</\1>|lang=\"en\"[^>]*>[^<]*|\S+@\S+",
        " ",
        page,
        flags=re.DOTALL,
    )
    texts = re.findall(r">([^<]+)<|(?:aria-label|title|alt)=\"([^\"]+)\"", page)
    words = (SAME.sub(" ", " ".join(pair)) for pair in texts)
    return [found for text in words if (found := " ".join(re.findall(r"[A-Za-z]{2,}", text)))]


@pytest.mark.parametrize("path", PAGES)
def test_pages_for_strangers_are_all_chinese(path: str, administrator: User) -> None:
    page = Client(headers={"accept-language": "zh-CN"}).get(path).content.decode()
    assert '<html lang="zh-hans">' in page
    assert HAN.search(page)
    assert english_left_in(page) == []


@pytest.mark.parametrize("path", SIGNED_IN)
def test_pages_for_members_are_all_chinese(path: str, as_administrator: Client) -> None:
    page = as_administrator.get(path, headers={"accept-language": "zh-CN"}).content.decode()
    assert english_left_in(page) == []


def test_what_forms_complain_about_is_chinese_too(person: User) -> None:
    client = Client(headers={"accept-language": "zh-CN"})
    page = client.post(
        "/accounts/login/", {"login": "grace@example.com", "password": "wrong"}
    ).content.decode()
    assert english_left_in(page) == []
    page = client.post("/accounts/signup/", {"email": "x", "password1": "1"}).content.decode()
    assert english_left_in(page) == []


def test_switch_is_remembered(db: None) -> None:
    client = Client(headers={"accept-language": "en"})
    assert '<html lang="en">' in client.get("/").content.decode()
    client.post("/i18n/setlang/", {"language": "zh-hans", "next": "/"})
    assert '<html lang="zh-hans">' in client.get("/").content.decode()
