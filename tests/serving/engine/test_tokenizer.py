from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from serving.engine.errors import InvalidRequest
from serving.engine.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def tokenizer(model_folder: Path) -> Tokenizer:
    return Tokenizer(AutoTokenizer.from_pretrained(model_folder))


def test_encoding_and_decoding_give_the_text_back(tokenizer: Tokenizer) -> None:
    text = "Hello,  world!\n请解释什么是机器学习? 👩‍👩‍👧"
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_special_tokens_are_left_out_of_text(tokenizer: Tokenizer) -> None:
    assert tokenizer.decode([1, *tokenizer.encode("x"), 2]) == "x"


def test_a_chat_ends_where_the_assistant_begins(tokenizer: Tokenizer) -> None:
    ids = tokenizer.apply_chat_template(
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi!"}]
    )
    assert tokenizer.decode(ids) == "system\nBe brief.\nuser\nHi!\nassistant\n"


def test_a_template_that_refuses_is_an_invalid_request(model_folder: Path) -> None:
    inner = AutoTokenizer.from_pretrained(model_folder)
    inner.chat_template = "{{ raise_exception('only users may speak') }}"
    with pytest.raises(InvalidRequest, match="only users may speak"):
        Tokenizer(inner).apply_chat_template([{"role": "system", "content": "x"}])


def test_a_model_without_a_template_says_so(model_folder: Path) -> None:
    inner = AutoTokenizer.from_pretrained(model_folder)
    inner.chat_template = None
    assert not Tokenizer(inner).has_chat_template
    with pytest.raises(InvalidRequest, match="no chat template; use /v1/completions"):
        Tokenizer(inner).apply_chat_template([{"role": "user", "content": "x"}])


def test_threads_may_share_it(tokenizer: Tokenizer) -> None:
    texts = [f"text number {number} " * 50 for number in range(40)]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(lambda text: tokenizer.decode(tokenizer.encode(text)), texts)) == texts
