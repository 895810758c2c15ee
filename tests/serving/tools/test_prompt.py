"""What a model reads of tools and calls, by its template or in words."""

from __future__ import annotations

import pytest

from serving.engine.tokenizer import Tokenizer
from serving.errors import BadRequest
from serving.messages import Message, ToolCall
from serving.tools import formats
from serving.tools.prompt import in_template, in_words, names_of_calls, template_tool
from serving.tools.schemas import Tool
from tests.serving.tools import templates
from tests.serving.tools.conftest import MakeTokenizer

TOLD = template_tool(Tool("now", "Tells the time.", {"type": "object"}))
CALLS = (ToolCall("call_1", "now", '{"zone": "北京"}'), ToolCall("call_2", "now", "{}"))
TALK = [
    Message("user", "When?"),
    Message("assistant", "Let me look.", CALLS),
    Message("tool", "8 am", call_id="call_1"),
    Message("tool", "1 am", call_id="call_2"),
]


def test_in_words_it_is_told_called_and_answered_as_hermes_has_it() -> None:
    system, *rest = in_words([Message("system", "Be brief."), *TALK], [TOLD])
    assert system["content"].startswith("Be brief.\n\n# Tools\n")
    assert '<tools>\n{"type": "function", "function": {"name": "now"' in system["content"]
    assert rest == [
        {"role": "user", "content": "When?"},
        {
            "role": "assistant",
            "content": "Let me look.\n"
            '<tool_call>\n{"name": "now", "arguments": {"zone": "北京"}}\n</tool_call>\n'
            '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>',
        },
        {
            "role": "user",
            "content": "<tool_response>\n8 am\n</tool_response>\n<tool_response>\n1 am\n</tool_response>",
        },
    ]


def test_in_words_a_system_message_is_put_first_where_there_is_none() -> None:
    assert [turn["role"] for turn in in_words(TALK[:1], [TOLD])] == ["system", "user"]
    assert [turn["role"] for turn in in_words(TALK[:1], [])] == ["user"]


def test_a_template_gets_arguments_as_objects_and_the_names_of_answers() -> None:
    _, called, answered, _ = in_template(TALK, names_of_calls(TALK), formats.HERMES)
    assert called["tool_calls"][0]["function"] == {"name": "now", "arguments": {"zone": "北京"}}
    assert (answered["name"], answered["tool_call_id"]) == ("now", "call_1")


def test_arguments_that_were_cut_short_are_passed_on_as_text() -> None:
    cut = [Message("assistant", "", (ToolCall("a", "now", '{"zo'),))]
    (called,) = in_template(cut, {}, formats.HERMES)
    assert called["tool_calls"][0]["function"]["arguments"] == '{"zo'


def test_mistrals_templates_get_ids_that_they_take(make_tokenizer: MakeTokenizer) -> None:
    chat = in_template(TALK, names_of_calls(TALK), formats.MISTRAL)
    assert chat[1]["tool_calls"][0]["id"] == chat[2]["tool_call_id"] == "0000call1"
    written = Tokenizer(make_tokenizer(templates.MISTRAL)).render_chat(chat, [TOLD])
    assert '[TOOL_CALLS] [{"name": "now"' in written


def test_an_answer_to_no_call_is_refused() -> None:
    with pytest.raises(BadRequest, match="call_1"):
        names_of_calls([TALK[0], TALK[2], TALK[1]])
