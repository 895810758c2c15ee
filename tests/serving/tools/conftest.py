from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from serving.engine.model_store import prepare
from serving.engine.models_file import read_models_file
from tests.environment import REPOSITORY

MakeTokenizer = Callable[..., Any]


@pytest.fixture(scope="session")
def make_tokenizer() -> MakeTokenizer:
    """That of the default model, with another chat template and with special tokens more."""
    spec = read_models_file(REPOSITORY / "models.toml")[0]
    folder: Path = prepare(spec, REPOSITORY / "var" / "models", lambda label, fraction: None)
    plain = AutoTokenizer.from_pretrained(folder)

    def make(template: str | None = None, tokens: tuple[str, ...] = ()) -> Any:
        tokenizer = copy.deepcopy(plain)
        tokenizer.add_tokens(list(tokens), special_tokens=True)
        tokenizer.chat_template = template or tokenizer.chat_template
        return tokenizer

    return make
