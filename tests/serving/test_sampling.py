"""How tokens are chosen and told of, seen from outside: the `openai` package on a real server."""

from __future__ import annotations

import math
from typing import Any

import openai
import pytest
import requests

from serving.chat.schemas import parse_chat_request
from serving.errors import BadRequest
from serving.schemas import parse_completion_request
from tests.server import Server

MODEL = "open-autoglm-7b"
GREEDY: Any = {"model": MODEL, "prompt": "The capital of France is", "max_tokens": 8, "temperature": 0}
CHAT: Any = {"model": MODEL, "messages": [{"role": "user", "content": "写一个表情🌸"}], "max_tokens": 40}


@pytest.fixture(scope="module")
def client(server: Server, api_key: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=api_key, max_retries=0, timeout=60)


def complete(client: openai.OpenAI, **changes: Any) -> Any:
    return client.completions.create(**{**GREEDY, **changes})


def test_a_bias_bans_or_forces_a_token(client: openai.OpenAI, server: Server, api_key: str) -> None:
    headers = {"Authorization": f"Bearer {api_key}"}
    asked = {"model": MODEL, "prompt": " banana"}
    tokens = requests.post(f"{server.url}/v1/tokenize", json=asked, headers=headers).json()["tokens"]
    forced = complete(client, logit_bias={str(tokens[0]): 100}, max_tokens=1)
    assert forced.choices[0].text == " banana"[: len(forced.choices[0].text)]
    plain = complete(client, logprobs=0).choices[0]
    first = requests.post(
        f"{server.url}/v1/tokenize",
        json={**asked, "prompt": plain.logprobs.tokens[0]},
        headers=headers,
    ).json()["tokens"]
    assert (
        not complete(client, logit_bias={str(first[0]): -100})
        .choices[0]
        .text.startswith(plain.logprobs.tokens[0])
    )


@pytest.mark.parametrize(
    ("more", "less"),
    [
        ({"presence_penalty": -2.0}, {"presence_penalty": 2.0}),
        ({"frequency_penalty": -2.0}, {"frequency_penalty": 2.0}),
        ({"extra_body": {"repetition_penalty": 0.7}}, {"extra_body": {"repetition_penalty": 1.8}}),
    ],
)
def test_a_penalty_makes_a_text_repeat_itself_less(client: openai.OpenAI, more: Any, less: Any) -> None:
    asked: Any = {"prompt": "Once upon a time", "max_tokens": 60, "logprobs": 0}
    repetitive = complete(client, **asked, **more).choices[0].logprobs.tokens
    varied = complete(client, **asked, **less).choices[0].logprobs.tokens
    assert len(set(varied)) > len(set(repetitive))


def test_min_tokens_keeps_the_end_away(client: openai.OpenAI) -> None:
    asked: Any = {"model": MODEL, "messages": [{"role": "user", "content": "Say hello."}], "temperature": 0}
    short = client.chat.completions.create(**asked, max_tokens=60)
    long = client.chat.completions.create(**asked, max_tokens=60, extra_body={"min_tokens": 50})
    assert short.usage
    assert long.usage
    assert short.usage.completion_tokens < 50 <= long.usage.completion_tokens


def test_a_stop_token_ends_the_text_before_it(client: openai.OpenAI, server: Server, api_key: str) -> None:
    plain = complete(client, logprobs=0).choices[0].logprobs.tokens
    [stop, *_] = requests.post(
        f"{server.url}/v1/tokenize",
        json={"model": MODEL, "prompt": plain[3]},
        headers={"Authorization": f"Bearer {api_key}"},
    ).json()["tokens"]
    choice = complete(client, extra_body={"stop_token_ids": [stop], "ignore_eos": True}).choices[0]
    assert (choice.text, choice.finish_reason) == ("".join(plain[: plain.index(plain[3])]), "stop")


def test_a_high_min_p_is_greedy(client: openai.OpenAI) -> None:
    greedy = complete(client).choices[0].text
    assert complete(client, temperature=1.5, extra_body={"min_p": 1.0}).choices[0].text == greedy


def test_logprobs_tell_of_every_token_of_the_text(client: openai.OpenAI) -> None:
    choice = complete(client, logprobs=3).choices[0]
    told = choice.logprobs
    assert "".join(told.tokens) == choice.text
    assert all(logprob <= 0 for logprob in told.token_logprobs)
    assert [len(top) for top in told.top_logprobs] == [3] * 8
    assert all(
        max(top, key=top.get) == token for top, token in zip(told.top_logprobs, told.tokens, strict=True)
    )
    assert [
        choice.text[at:][: len(t)] for at, t in zip(told.text_offset, told.tokens, strict=True)
    ] == told.tokens


def test_echo_with_logprobs_tells_of_the_prompt_too(client: openai.OpenAI) -> None:
    plain = complete(client, logprobs=1).choices[0]
    echoed = complete(client, logprobs=1, echo=True).choices[0]
    assert echoed.text == GREEDY["prompt"] + plain.text
    assert "".join(echoed.logprobs.tokens) == echoed.text
    assert echoed.logprobs.token_logprobs[0] is None
    assert echoed.logprobs.top_logprobs[0] is None
    assert echoed.logprobs.token_logprobs[-8:] == pytest.approx(plain.logprobs.token_logprobs, abs=0.05)
    assert all(logprob < 0 for logprob in echoed.logprobs.token_logprobs[1:])


def test_the_pieces_of_a_stream_have_the_same_logprobs(client: openai.OpenAI) -> None:
    asked: Any = {"prompt": "诗：春天🌸", "max_tokens": 40, "seed": 3, "temperature": 1, "logprobs": 2}
    for echo in (False, True):
        plain = complete(client, **asked, echo=echo).choices[0]
        chunks = [chunk.choices[0] for chunk in complete(client, **asked, echo=echo, stream=True)]
        assert "".join(chunk.text for chunk in chunks) == plain.text
        tokens = [token for chunk in chunks for token in chunk.logprobs.tokens]
        offsets = [offset for chunk in chunks for offset in chunk.logprobs.text_offset]
        assert tokens == plain.logprobs.tokens
        assert offsets[0] == plain.logprobs.text_offset[0] == 0


def test_the_bytes_of_a_chats_logprobs_are_its_text(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(**CHAT, logprobs=True, top_logprobs=2, seed=5)
    told = answer.choices[0].logprobs
    assert told
    assert told.content
    data = b"".join(bytes(token.bytes or []) for token in told.content)
    assert data.decode(errors="replace") == answer.choices[0].message.content
    assert all(len(token.top_logprobs) == 2 for token in told.content)
    chunks = client.chat.completions.create(**CHAT, logprobs=True, top_logprobs=2, seed=5, stream=True)
    streamed = [c.choices[0].logprobs for c in chunks if c.choices[0].logprobs]
    assert b"".join(bytes(t.bytes or []) for one in streamed for t in one.content or []) == data


def test_prompt_logprobs_are_vllms(client: openai.OpenAI) -> None:
    choice = complete(client, extra_body={"prompt_logprobs": 2}).choices[0]
    told = choice.model_extra["prompt_logprobs"]
    assert told[0] is None
    assert len(told) == 5
    assert all(2 <= len(tokens) <= 3 for tokens in told[1:])
    assert {one["rank"] for one in told[1].values()} >= {1, 2}


def test_best_of_answers_with_the_likeliest(client: openai.OpenAI) -> None:
    asked: Any = {"temperature": 1.2, "seed": 1, "logprobs": 0}
    every = complete(client, **asked, n=6)
    best = complete(client, **asked, n=2, best_of=6)

    def likelihood(choice: Any) -> float:
        return math.fsum(choice.logprobs.token_logprobs) / len(choice.logprobs.tokens)

    ranked = sorted(every.choices, key=likelihood, reverse=True)
    assert [choice.text for choice in best.choices] == [choice.text for choice in ranked[:2]]
    assert [choice.index for choice in best.choices] == [0, 1]
    assert best.usage.completion_tokens == every.usage.completion_tokens


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"presence_penalty": 2.1}, "presence_penalty"),
        ({"frequency_penalty": -2.1}, "frequency_penalty"),
        ({"repetition_penalty": 0}, "repetition_penalty"),
        ({"logit_bias": []}, "logit_bias"),
        ({"logit_bias": {"a": 1}}, "logit_bias"),
        ({"logit_bias": {"-1": 1}}, "logit_bias"),
        ({"logit_bias": {"1": 101}}, "logit_bias.1"),
        ({"logit_bias": {str(token): 1 for token in range(1025)}}, "logit_bias"),
        ({"min_p": 1.1}, "min_p"),
        ({"stop_token_ids": 2}, "stop_token_ids"),
        ({"stop_token_ids": [True]}, "stop_token_ids"),
        ({"stop_token_ids": [-1]}, "stop_token_ids"),
        ({"stop_token_ids": [1] * 65}, "stop_token_ids"),
        ({"min_tokens": 9, "max_tokens": 8}, "min_tokens"),
        ({"logprobs": 21}, "logprobs"),
        ({"logprobs": True}, "logprobs"),
        ({"prompt_logprobs": 1, "stream": True}, "prompt_logprobs"),
        ({"best_of": 1, "n": 2}, "best_of"),
        ({"best_of": 2, "stream": True}, "best_of"),
        ({"best_of": 128, "prompt": ["a", "b"]}, "best_of"),
    ],
)
def test_a_wrong_value_is_refused_by_name(change: Any, param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_completion_request({"model": "m", "prompt": "a", **change})
    assert caught.value.param == param


def test_top_logprobs_want_logprobs() -> None:
    with pytest.raises(BadRequest) as caught:
        parse_chat_request({"model": "m", "messages": CHAT["messages"], "top_logprobs": 1})
    assert caught.value.param == "top_logprobs"


@pytest.mark.parametrize(
    ("change", "status"),
    [({"logit_bias": {"999999": 1}}, 400), ({"min_tokens": 10**6, "max_tokens": None}, 400)],
)
def test_what_the_model_cannot_do_is_a_bad_request(
    server: Server, api_key: str, change: Any, status: int
) -> None:
    headers = {"Authorization": f"Bearer {api_key}"}
    response = requests.post(f"{server.url}/v1/completions", json={**GREEDY, **change}, headers=headers)
    assert response.status_code == status
    assert response.json()["error"]["message"]
