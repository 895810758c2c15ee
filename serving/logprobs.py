"""How likely tokens were, as OpenAI and vLLM tell it. A token of a byte-level vocabulary need not be text by
itself: then it is written ``bytes:\\\\xe4``, as OpenAI writes it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from serving.engine.core import TokenLogprobs
from serving.engine.tokenizer import Tokenizer

Json = dict[str, Any]
UNKNOWN = math.nan  # of a text's first token, which nothing precedes


def text_logprobs(tokenizer: Tokenizer, told: Sequence[TokenLogprobs], offset: int) -> Json:
    """For /v1/completions. ``offset``: characters of the choice's text before ``told``."""
    tokens = [_spell(tokenizer, one.token_id) for one in told]
    offsets = []
    for one in told:
        offsets.append(offset)
        offset += len(tokenizer.token_bytes(one.token_id).decode(errors="ignore"))
    return {
        "tokens": tokens,
        "token_logprobs": [_number(one.logprob) for one in told],
        "top_logprobs": [_top(tokenizer, one) for one in told],
        "text_offset": offsets,
    }


def chat_logprobs(tokenizer: Tokenizer, told: Iterable[TokenLogprobs]) -> Json:
    """For /v1/chat/completions."""
    content = [
        {
            **_entry(tokenizer, one.token_id, one.logprob),
            "top_logprobs": [_entry(tokenizer, token, logprob) for token, logprob in one.top],
        }
        for one in told
    ]
    return {"content": content, "refusal": None}


def prompt_logprobs(tokenizer: Tokenizer, told: Sequence[TokenLogprobs]) -> list[Json | None]:
    """vLLM's: for each token of the prompt, the first of which has none."""
    return [None, *(_ranked(tokenizer, one) for one in told)]


def _ranked(tokenizer: Tokenizer, one: TokenLogprobs) -> Json:
    ranks = {token: rank for rank, (token, _) in enumerate(one.top, start=1)}
    logprobs = {**dict(one.top), one.token_id: one.logprob}
    return {
        str(token): {
            "logprob": logprob,
            "rank": ranks.get(token),
            "decoded_token": _spell(tokenizer, token),
        }
        for token, logprob in logprobs.items()
    }


def _top(tokenizer: Tokenizer, one: TokenLogprobs) -> Json | None:
    """With the token that stands there, likely or not."""
    if math.isnan(one.logprob):
        return None
    logprobs = {**dict(one.top), one.token_id: one.logprob}
    return {_spell(tokenizer, token): logprob for token, logprob in logprobs.items()}


def _entry(tokenizer: Tokenizer, token: int, logprob: float) -> Json:
    return {
        "token": _spell(tokenizer, token),
        "logprob": _number(logprob),
        "bytes": list(tokenizer.token_bytes(token)),
    }


def _spell(tokenizer: Tokenizer, token: int) -> str:
    data = tokenizer.token_bytes(token)
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)


def _number(logprob: float) -> float | None:
    """JSON has no infinity; OpenAI writes -9999 for what cannot come."""
    return None if math.isnan(logprob) else max(logprob, -9999.0)
