"""/v1/embeddings as programs see it, on a real server."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import openai
import pytest
import requests

from serving.embeddings import MAX_INPUTS, MAX_TOKENS
from tests.server import Server
from tests.serving.records import wait_for_newest_abort, wait_for_record

MODEL = "open-autoglm-7b"
WIDTH = 576
TEXTS = [
    "A dog barks in the garden.",
    "A puppy is barking outside.",
    "The central bank raised its rate.",
    "狗",
]


@pytest.fixture(scope="module")
def client(server: Server, api_key: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=api_key, max_retries=0, timeout=60)


def embed(client: openai.OpenAI, given: Any, **options: Any) -> np.ndarray[Any, Any]:
    answer = client.embeddings.create(model=MODEL, input=given, **options)
    assert [item.index for item in answer.data] == list(range(len(answer.data)))
    return np.array([item.embedding for item in answer.data])


def post(server: Server, key: str, timeout: Any = 60, **body: Any) -> requests.Response:
    headers = {"Authorization": f"Bearer {key}"}
    return requests.post(
        f"{server.url}/v1/embeddings", json={"model": MODEL, **body}, headers=headers, timeout=timeout
    )


def test_texts_that_mean_alike_lie_close_and_each_is_as_it_is_alone(client: openai.OpenAI) -> None:
    vectors = embed(client, TEXTS)
    assert vectors.shape == (len(TEXTS), WIDTH)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(len(TEXTS)), abs=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.05
    alone = np.concatenate([embed(client, text) for text in TEXTS])
    assert alone == pytest.approx(vectors, abs=1e-5)


def test_an_answer_has_openais_shape_and_is_recorded(server: Server, api_key: str) -> None:
    response = post(server, api_key, input="Hi!", user="somebody", encoding_format="float")
    body = response.json()
    vector = body["data"][0].pop("embedding")
    assert len(vector) == WIDTH
    assert body == {
        "object": "list",
        "data": [{"object": "embedding", "index": 0}],
        "model": "smollm2-135m-instruct",
        "usage": {"prompt_tokens": 2, "total_tokens": 2},
    }
    assert "x-ratelimit-limit-requests" in response.headers
    record = wait_for_record(server, response.headers["x-request-id"])
    assert (record["endpoint"], record["model"]) == ("/v1/embeddings", "smollm2-135m-instruct")
    assert (record["status"], record["prompt_tokens"], record["completion_tokens"]) == (200, 2, 0)


def test_every_form_of_input_gives_the_same_vectors(
    server: Server, api_key: str, client: openai.OpenAI
) -> None:
    headers = {"Authorization": f"Bearer {api_key}"}
    ids = [
        requests.post(
            f"{server.url}/v1/tokenize", json={"model": MODEL, "prompt": text}, headers=headers, timeout=60
        ).json()["tokens"]
        for text in TEXTS[:2]
    ]
    expected = embed(client, TEXTS[:2])
    assert embed(client, ids) == pytest.approx(expected, abs=1e-5)
    assert embed(client, ids[1]) == pytest.approx(expected[1:], abs=1e-5)


def test_base64_is_the_same_vector(server: Server, api_key: str) -> None:
    numbers, encoded = (
        post(server, api_key, input=TEXTS[0], encoding_format=form).json()["data"][0]["embedding"]
        for form in ("float", "base64")
    )
    assert np.frombuffer(base64.b64decode(encoded), "<f4").tolist() == numbers


def test_fewer_dimensions_are_the_first_ones_made_a_unit_again(client: openai.OpenAI) -> None:
    whole, cut = embed(client, TEXTS), embed(client, TEXTS, dimensions=64)
    expected = whole[:, :64] / np.linalg.norm(whole[:, :64], axis=1, keepdims=True)
    assert cut == pytest.approx(expected, abs=1e-5)


def test_more_texts_than_the_engines_queue_holds_come_back_in_order(client: openai.OpenAI) -> None:
    texts = [[5 + number] for number in range(300)]
    vectors = embed(client, texts)
    assert vectors.shape == (300, WIDTH)
    assert embed(client, texts[234]) == pytest.approx(vectors[234:235], abs=1e-5)


@pytest.mark.parametrize(
    ("body", "param", "says"),
    [
        ({}, "input", "Missing required parameter"),
        ({"input": []}, "input", "not empty"),
        ({"input": ""}, "input", "not be empty"),
        ({"input": ["a", ""]}, "input[1]", "not be empty"),
        ({"input": ["a", 3]}, "input[1]", "a string"),
        ({"input": {"text": "a"}}, "input", "a string"),
        ({"input": [2**31 - 1]}, "input", "Token ids must be"),
        ({"input": ["a"] * (MAX_INPUTS + 1)}, "input", f"at most {MAX_INPUTS} texts"),
        ({"input": [[5] * 1000] * (MAX_TOKENS // 1000 + 1)}, "input", f"at most {MAX_TOKENS} tokens"),
        ({"input": "a", "dimensions": 0}, "dimensions", "from 1"),
        ({"input": "a", "dimensions": WIDTH + 1}, "dimensions", f"at most {WIDTH}"),
        ({"input": "a", "encoding_format": "int8"}, "encoding_format", "'float', 'base64'"),
        ({"input": "a", "normalize": False}, "normalize", "length 1"),
        ({"input": "a", "truncate_prompt_tokens": 8}, "truncate_prompt_tokens", "does not support"),
        ({"input": "a", "temperature": 1}, "temperature", "Unrecognized"),
    ],
)
def test_what_cannot_be_embedded_is_refused_by_name(
    server: Server, api_key: str, body: dict[str, Any], param: str, says: str
) -> None:
    response = post(server, api_key, **body)
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert says in error["message"]


@pytest.mark.parametrize("given", [[5] * 8193, "word " * 100_000])
def test_a_text_longer_than_the_context_is_refused_in_openais_words(
    server: Server, api_key: str, given: Any
) -> None:
    response = post(server, api_key, input=["short", given])
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (400, "context_length_exceeded")
    assert error["param"] == "input[1]"


def test_an_unknown_model_is_404(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        client.embeddings.create(model="text-embedding-3-small", input="a")


def test_a_client_that_leaves_is_charged_for_what_was_begun(server: Server, api_key: str) -> None:
    with pytest.raises(requests.ReadTimeout):
        post(server, api_key, timeout=(10, 0.5), input=[[5] * 4000] * 70)
    record = wait_for_newest_abort(server, "/v1/embeddings")
    assert (record["status"], record["finish_reason"]) == (499, "abort")
    assert record["prompt_tokens"] in (32 * 4000, 64 * 4000), "not the whole of it"
    assert record["duration_ms"] < 20_000
