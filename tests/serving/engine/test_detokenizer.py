from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.engine.detokenizer import Detokenizer, StopMatcher
from serving.engine.loader import LoadedModel
from serving.engine.tokenizer import Tokenizer

TEXTS = [
    "Hello, world!  Two  spaces,\ttabs\nand lines.\n\n",
    "请解释什么是机器学习?机器学习是人工智能的一个分支。",
    "👩‍👩‍👧‍👦 family, 🇨🇭 flag, e\u0301 combining, नमस्ते, שלום",
    " leading space",
]


@pytest.fixture(scope="module")
def tokenizer(exact_model: LoadedModel) -> Tokenizer:
    return exact_model.tokenizer


def pieces(tokenizer: Tokenizer, token_ids: list[int]) -> list[str]:
    detokenizer = Detokenizer(tokenizer.decode)
    return [*(detokenizer.feed([token]) for token in token_ids), detokenizer.finish()]


@pytest.mark.parametrize("text", TEXTS)
def test_pieces_put_together_are_the_text(tokenizer: Tokenizer, text: str) -> None:
    assert "".join(pieces(tokenizer, tokenizer.encode(text))) == text


@pytest.mark.parametrize("text", TEXTS)
def test_no_piece_shows_half_a_character(tokenizer: Tokenizer, text: str) -> None:
    assert not any(
        "\N{REPLACEMENT CHARACTER}" in piece for piece in pieces(tokenizer, tokenizer.encode(text))
    )


def test_characters_come_out_as_soon_as_their_last_byte_is_there(tokenizer: Tokenizer) -> None:
    token_ids = tokenizer.encode("机器学习")
    assert len(token_ids) > 4, "the model must split these characters for the test to mean anything"
    detokenizer = Detokenizer(tokenizer.decode)
    seen = ""
    for end, token in enumerate(token_ids, start=1):
        seen += detokenizer.feed([token])
        assert seen == tokenizer.decode(token_ids[:end]).rstrip("\N{REPLACEMENT CHARACTER}")


def test_a_cut_off_character_is_shown_as_unfinished_at_the_end_only(tokenizer: Tokenizer) -> None:
    token_ids = tokenizer.encode("ok 👩")[:-1]
    *before, last = pieces(tokenizer, token_ids)
    assert "".join(before) == "ok"
    assert last == " \N{REPLACEMENT CHARACTER}"


@given(token_ids=st.lists(st.integers(0, 49151), max_size=40))
def test_any_tokens_give_what_decoding_them_at_once_gives(tokenizer: Tokenizer, token_ids: list[int]) -> None:
    assert "".join(pieces(tokenizer, token_ids)) == tokenizer.decode(token_ids)


def cut(stops: list[str], chunks: list[str]) -> tuple[str, str | None]:
    matcher = StopMatcher(stops)
    text = "".join(matcher.feed(chunk) for chunk in chunks) + matcher.finish()
    return text, matcher.matched


def test_text_ends_before_the_stop_string() -> None:
    assert cut(["\nUser:"], ["Hi there.", "\nUs", "er: next"]) == ("Hi there.", "\nUser:")


def test_a_beginning_of_a_stop_string_is_held_back_and_then_given_out() -> None:
    matcher = StopMatcher(["STOP"])
    assert matcher.feed("a ST") == "a "
    assert matcher.feed("ILL") == "STILL"
    assert matcher.feed(" S") == " "
    assert matcher.finish() == "S"


def test_the_earliest_stop_wins_and_of_equals_the_longer() -> None:
    assert cut(["world", "lo"], ["hello world"]) == ("hel", "lo")
    assert cut(["ab", "abc"], ["xabcd"]) == ("x", "abc")


def test_nothing_is_given_out_after_a_match() -> None:
    matcher = StopMatcher(["."])
    assert matcher.feed("One. Two.") == "One"
    assert matcher.feed(" Three") == ""
    assert matcher.finish() == ""


@given(
    text=st.text("ab.", max_size=30),
    stops=st.lists(st.text("ab.", min_size=1, max_size=4), max_size=3),
    cuts=st.lists(st.integers(0, 30)),
)
def test_how_the_text_is_cut_into_pieces_never_matters_for_one_stop(
    text: str, stops: list[str], cuts: list[int]
) -> None:
    places = sorted({0, len(text), *(place for place in cuts if place < len(text))})
    chunks = [text[a:b] for a, b in itertools.pairwise(places)]
    ends = [text.find(stop) for stop in stops[:1] if stop in text]
    assert cut(stops[:1], chunks)[0] == text[: min(ends, default=len(text))]
