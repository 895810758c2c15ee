"""Answers taken apart, however they are cut."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.tools.formats import FORMATS, HERMES, LLAMA, MISTRAL, MISTRAL_ARGS, ToolFormat
from serving.tools.parser import CallParser, CallPiece, Piece

Read = list[str | tuple[str, str]]  # texts, and the name and arguments of calls, in order


def read(form: ToolFormat, pieces: Iterable[str]) -> Read:
    parser = CallParser(form, "req-1-0")
    given = [piece for text in pieces for piece in parser.feed(text)] + parser.finish()
    return put_together(given)


def put_together(pieces: Iterable[Piece]) -> Read:
    told: Read = []
    for piece in pieces:
        last = told[-1] if told else None
        match piece:
            case str():
                told[-1:] = [last + piece] if isinstance(last, str) else [*told[-1:], piece]
            case CallPiece(arguments=""):
                assert piece.id.startswith("call_")
                told.append((piece.name, ""))
            case CallPiece():
                assert isinstance(last, tuple)
                told[-1] = (last[0], last[1] + piece.arguments)
    return told


def written(form: ToolFormat, calls: list[tuple[str, str]], text: str = "") -> str:
    """As a model writes it."""
    bodies = [form.before_name + name + form.before_arguments + args + form.after for name, args in calls]
    return text + form.marker + form.opening + form.between.join(bodies) + form.closing


HERMES_CALL = '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>'


@pytest.mark.parametrize(
    ("form", "answer", "told"),
    [
        (HERMES, "Just text.", ["Just text."]),
        (HERMES, HERMES_CALL, [("f", '{"a": 1}')]),
        (HERMES, f"Let me look.\n\n{HERMES_CALL}", ["Let me look.", ("f", '{"a": 1}')]),
        (HERMES, f"{HERMES_CALL}\n{HERMES_CALL}", [("f", '{"a": 1}'), ("f", '{"a": 1}')]),
        (HERMES, f"{HERMES_CALL}\n\nDone. ", [("f", '{"a": 1}'), "Done. "]),
        (HERMES, '<tool_call>{"name":"f","arguments":{}}</tool_call>', [("f", "{}")]),
        (HERMES, '<tool_call>\n{"name": "f", "arguments": {"a": "}<\\"{"}}\n', [("f", '{"a": "}<\\"{"}')]),
        (HERMES, '<tool_call>\n{"name": "f", "arguments": {"a": [1', [("f", '{"a": [1')]),
        (HERMES, "a < b <tool_call> c", ["a < b <tool_call> c"]),
        (HERMES, '<tool_call>\n{"nam', ['<tool_call>\n{"nam']),
        (HERMES, f"<tool_call> {HERMES_CALL}", ["<tool_call>", ("f", '{"a": 1}')]),
        (HERMES, '<tool_call>{"name": "f", "arguments": {}} oops', [("f", "{}"), "} oops"]),
        (MISTRAL, '[TOOL_CALLS] [{"name": "f", "arguments": {"a": 1}}]', [("f", '{"a": 1}')]),
        (
            MISTRAL,
            'Hm[TOOL_CALLS][{"name": "f", "arguments": {}, "id": "a1"}, {"name": "g", "arguments": {}}]',
            ["Hm", ("f", "{}"), ("g", "{}")],
        ),
        (MISTRAL_ARGS, '[TOOL_CALLS]f[ARGS]{"a": 1}[TOOL_CALLS]g[ARGS]{}', [("f", '{"a": 1}'), ("g", "{}")]),
        (LLAMA, '{"name": "f", "parameters": {"a": 1}}', [("f", '{"a": 1}')]),
        (LLAMA, '<|python_tag|>{"name": "f", "parameters": {}}', [("f", "{}")]),
        (
            LLAMA,
            '{"name": "f", "parameters": {}}; {"name": "g", "parameters": {}}',
            [("f", "{}"), ("g", "{}")],
        ),
        (LLAMA, '{"a": 1}', ['{"a": 1}']),
        (LLAMA, 'So: {"name": "f", "parameters": {}}', ['So: {"name": "f", "parameters": {}}']),
    ],
)
def test_text_and_calls_are_told_apart(form: ToolFormat, answer: str, told: Read) -> None:
    assert read(form, [answer]) == told
    assert read(form, answer) == told


arguments = st.dictionaries(st.text(max_size=3), st.text(max_size=9) | st.integers(), max_size=3)
calls = st.lists(st.tuples(st.sampled_from(["f", "get_weather"]), arguments.map(json.dumps)), min_size=1)


@given(form=st.sampled_from(FORMATS), calls=calls)
def test_what_a_model_writes_is_what_is_read(form: ToolFormat, calls: list[tuple[str, str]]) -> None:
    assert read(form, [written(form, calls)]) == calls


@st.composite
def cut_answers(draw: st.DrawFn) -> tuple[ToolFormat, str, list[str]]:
    """An answer of fragments that belong to calls, in any order, and the same in pieces."""
    form = draw(st.sampled_from(FORMATS))
    whole = written(form, [("f", '{"a": "}"}')])
    parts = [form.marker, form.before_name, form.before_arguments, form.after, form.between, form.closing]
    fragments = st.sampled_from([whole, *parts, *"{}[]\"',:; \n<", "f", '{"a": 1}', "你好🌸"])
    answer = "".join(draw(st.lists(fragments, max_size=12)))
    cuts = sorted(draw(st.sets(st.integers(0, len(answer)), max_size=8)) | {0, len(answer)})
    return form, answer, [answer[a:b] for a, b in itertools.pairwise(cuts)]


@given(cut_answers())
def test_any_cut_of_an_answer_gives_the_same(cut: tuple[ToolFormat, str, list[str]]) -> None:
    form, answer, pieces = cut
    assert read(form, pieces) == read(form, [answer]) == read(form, answer)


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_a_call_is_told_as_it_comes(form: ToolFormat) -> None:
    parser = CallParser(form, "req-1-0")
    assert parser.feed(form.marker + form.opening + form.before_name + "f") == []
    assert not parser.has_called
    first, piece = parser.feed(form.before_arguments + '{"a')
    assert isinstance(first, CallPiece)
    assert (first.number, first.name) == (0, "f")
    assert piece == CallPiece(0, '{"a')
    assert not parser.has_called
    assert parser.feed('": 1}' + form.after + form.closing) == [CallPiece(0, '": 1}')]
    assert parser.has_called


def test_ids_are_the_same_for_the_same_answer_and_differ_within_it() -> None:
    def ids(owner: str) -> list[str]:
        pieces = CallParser(HERMES, owner).feed(f"{HERMES_CALL}\n{HERMES_CALL}")
        return [piece.id for piece in pieces if isinstance(piece, CallPiece) and piece.id]

    assert ids("a") == ids("a")
    assert len({*ids("a"), *ids("b")}) == 4
