"""The `openai` package, as programs use it: what it does on top of the endpoints, with nothing mocked."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import openai
import pytest
from pydantic import BaseModel

from tests.server import Server

MODEL = "open-autoglm-7b"
HELLO: Any = [{"role": "user", "content": "Say hello."}]
ASKED: Any = {"model": MODEL, "messages": HELLO, "temperature": 0, "max_completion_tokens": 30}


class Weather(BaseModel):
    """What a structured answer is parsed into."""

    city: Literal["Paris", "北京"]
    sky: Literal["clear", "cloudy"]
    celsius: Literal[-5, 20]


@pytest.fixture(scope="module")
def client(server: Server, api_key: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=api_key, max_retries=0, timeout=60)


def connect(server: Server, key: str, **how: Any) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key=key, **{"max_retries": 0, **how})


def test_a_chat_and_its_stream_say_the_same(client: openai.OpenAI) -> None:
    plain = client.chat.completions.create(**ASKED).choices[0]
    with client.chat.completions.stream(**ASKED) as stream:
        deltas = [event.delta for event in stream if event.type == "content.delta"]
        final = stream.get_final_completion().choices[0]
    assert "".join(deltas) == final.message.content == plain.message.content
    assert final.finish_reason == plain.finish_reason == "stop"


async def test_the_async_client_answers_and_streams(server: Server, api_key: str) -> None:
    async with connect(server, api_key) as client:
        plain = await client.chat.completions.create(**ASKED)
        chunks = [chunk async for chunk in await client.chat.completions.create(**ASKED, stream=True)]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == plain.choices[0].message.content


async def test_the_async_client_streams_many_at_once(server: Server, api_key: str) -> None:
    async def count(client: openai.AsyncOpenAI, tokens: int) -> int:
        stream = await client.completions.create(
            model=MODEL,
            prompt="Count:",
            max_tokens=tokens,
            stream=True,
            stream_options={"include_usage": True},
            extra_body={"ignore_eos": True},
        )
        usages = [chunk.usage async for chunk in stream if chunk.usage]
        return usages[0].completion_tokens

    async with connect(server, api_key) as client:
        counts = await asyncio.gather(*(count(client, tokens) for tokens in range(1, 17)))
    assert counts == list(range(1, 17))


async def test_a_task_that_is_cancelled_leaves_the_client_usable(server: Server, api_key: str) -> None:
    async with connect(server, api_key) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await client.completions.create(
                    model=MODEL, prompt="On", max_tokens=8000, extra_body={"ignore_eos": True}
                )
        assert (await client.chat.completions.create(**ASKED)).choices[0].message.content


def test_an_answer_is_parsed_into_a_model_of_pydantics(client: openai.OpenAI) -> None:
    answer = client.chat.completions.parse(**{**ASKED, "max_completion_tokens": 500}, response_format=Weather)
    parsed = answer.choices[0].message.parsed
    assert isinstance(parsed, Weather)
    assert parsed == Weather(**json.loads(answer.choices[0].message.content or ""))


def test_a_stream_is_parsed_into_a_model_of_pydantics(client: openai.OpenAI) -> None:
    asked = {**ASKED, "max_completion_tokens": 500}
    with client.chat.completions.stream(**asked, response_format=Weather) as stream:
        parsed = stream.get_final_completion().choices[0].message.parsed
    assert isinstance(parsed, Weather)


def test_too_few_tokens_for_a_structured_answer_raise_the_clients_own_error(client: openai.OpenAI) -> None:
    with pytest.raises(openai.LengthFinishReasonError):
        client.chat.completions.parse(**{**ASKED, "max_completion_tokens": 2}, response_format=Weather)


def test_responses_are_parsed_streamed_and_gone_on_with(client: openai.OpenAI) -> None:
    asked: Any = {"model": MODEL, "input": "The weather?", "temperature": 0}
    parsed = client.responses.parse(**asked, text_format=Weather)
    assert isinstance(parsed.output_parsed, Weather)
    with client.responses.stream(**asked, max_output_tokens=20) as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        final = stream.get_final_response()
    assert final.output_text == text
    again = client.responses.create(
        model=MODEL, input="And now?", previous_response_id=final.id, max_output_tokens=5
    )
    assert again.previous_response_id == final.id


async def test_the_async_client_has_responses_too(server: Server, api_key: str) -> None:
    async with connect(server, api_key) as client:
        response = await client.responses.create(model=MODEL, input="Hi", max_output_tokens=5)
        assert (await client.responses.retrieve(response.id)).output_text == response.output_text


def test_the_stream_gathers_calls_with_arguments_of_pydantics(client: openai.OpenAI) -> None:
    tools = [openai.pydantic_function_tool(Weather, name="tell_weather")]
    with client.chat.completions.stream(
        **{**ASKED, "max_completion_tokens": 100}, tools=tools, tool_choice="required"
    ) as stream:
        calls = stream.get_final_completion().choices[0].message.tool_calls
    assert calls
    assert all(isinstance(call.function.parsed_arguments, Weather) for call in calls)


def test_a_batch_is_uploaded_waited_for_and_read(client: openai.OpenAI) -> None:
    body = {**ASKED, "max_completion_tokens": 3}
    lines = [
        {"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": body}
        for name in ("first", "second")
    ]
    text = "\n".join(map(json.dumps, lines)).encode()
    upload = client.files.create(file=("in.jsonl", text), purpose="batch")
    batch = client.batches.create(
        input_file_id=upload.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    while batch.status in ("validating", "in_progress", "finalizing"):
        time.sleep(0.2)
        batch = client.batches.retrieve(batch.id)
    assert batch.output_file_id
    answers = map(json.loads, client.files.content(batch.output_file_id).text.splitlines())
    assert [answer["custom_id"] for answer in answers] == ["first", "second"]


def test_vectors_come_as_numbers(client: openai.OpenAI) -> None:
    first, second = client.embeddings.create(model=MODEL, input=["A dog.", "Ein Hund."]).data
    assert len(first.embedding) == len(second.embedding) > 100


def test_raw_responses_have_the_headers_that_programs_read(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(**ASKED)
    answer = raw.parse()
    assert raw.headers["x-request-id"] == raw.request_id == answer._request_id
    for header in ("limit", "remaining", "reset"):
        assert raw.headers[f"x-ratelimit-{header}-requests"]
    with client.chat.completions.with_streaming_response.create(**ASKED) as streamed:
        assert json.loads(streamed.read())["object"] == "chat.completion"


def test_a_key_over_its_limit_is_retried_until_it_is_not(server: Server, new_key: Callable[[], str]) -> None:
    key = new_key()
    impatient = openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0)
    patient = impatient.with_options(max_retries=8)

    def is_refused(_: int) -> bool:
        try:
            impatient.completions.create(model=MODEL, prompt="a", max_tokens=1)
        except openai.RateLimitError:
            return True
        return False

    with ThreadPoolExecutor(16) as pool:
        while not any(pool.map(is_refused, range(60))):
            pass
        raw = list(
            pool.map(
                lambda _: patient.completions.with_raw_response.create(model=MODEL, prompt="a"), range(8)
            )
        )
    assert max(answer.retries_taken for answer in raw) > 0


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"temperature": 3}, openai.BadRequestError),
        ({"model": "no-such-model"}, openai.NotFoundError),
        ({"extra_headers": {"Authorization": "Bearer wrong"}}, openai.AuthenticationError),
    ],
)
def test_the_clients_own_errors_are_raised(
    client: openai.OpenAI, change: Any, error: type[openai.APIStatusError]
) -> None:
    with pytest.raises(error) as caught:
        client.chat.completions.create(**{**ASKED, **change})
    assert caught.value.request_id
    assert caught.value.type == "invalid_request_error"


def test_a_stream_cannot_begin_with_an_error(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(**{**ASKED, "temperature": 3}, stream=True)
