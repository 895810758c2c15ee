"""How a model calls tools is found out from its chat template and its vocabulary."""

from __future__ import annotations

import pytest

from serving.engine.tokenizer import Tokenizer
from serving.tools import formats
from serving.tools.dialects import dialect_of
from tests.serving.tools import templates
from tests.serving.tools.conftest import MakeTokenizer


@pytest.mark.parametrize(
    ("template", "form"),
    [
        (templates.QWEN, formats.HERMES),
        (templates.MISTRAL, formats.MISTRAL),
        (templates.MISTRAL_ARGS, formats.MISTRAL_ARGS),
        (templates.LLAMA, formats.LLAMA),
    ],
)
def test_the_template_shows_how_calls_are_written(
    make_tokenizer: MakeTokenizer, template: str, form: formats.ToolFormat
) -> None:
    dialect = dialect_of(Tokenizer(make_tokenizer(template)))
    assert (dialect.format, dialect.in_template) == (form, True)


@pytest.mark.parametrize("template", [None, templates.UNKNOWN, "{{ raise_exception('no') }}"])
def test_a_model_that_knows_no_tools_is_told_in_words(
    make_tokenizer: MakeTokenizer, template: str | None
) -> None:
    dialect = dialect_of(Tokenizer(make_tokenizer(template)))
    assert (dialect.format, dialect.in_template, dialect.tokens) == (formats.HERMES, False, {})


def test_tokens_of_the_model_are_told_from_text(make_tokenizer: MakeTokenizer) -> None:
    tokenizer = Tokenizer(make_tokenizer(templates.QWEN, ("<tool_call>", "</tool_call>")))
    dialect = dialect_of(tokenizer)
    begin, end = tokenizer.find("<tool_call>"), tokenizer.find("</tool_call>")
    assert begin is not None
    assert dialect.split("<tool_call>\nx</tool_call>") == [begin, "\nx", end]
    ids = [begin, *tokenizer.encode("x"), 2]
    assert tokenizer.decode(ids) == "x"
    assert tokenizer.decode(ids, shown=dialect.shown) == "<tool_call>x"
