"""LangChain's OpenAI client."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from langchain_core.messages import AIMessageChunk, HumanMessage, SystemMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI, OpenAI
from pydantic import BaseModel, SecretStr

from tests.server import Server

MODEL = "open-autoglm-7b"
TURNS = [SystemMessage("Be brief."), HumanMessage("Say hello.")]


class Mood(BaseModel):
    """How somebody feels."""

    mood: Literal["happy", "sad"]
    sure: bool


@pytest.fixture(scope="module")
def chat(server: Server, api_key: str) -> ChatOpenAI:
    return ChatOpenAI(
        model=MODEL,
        base_url=f"{server.url}/v1",
        api_key=SecretStr(api_key),
        temperature=0,
        max_completion_tokens=60,
        max_retries=0,
        stream_usage=True,
    )


def test_it_answers_with_its_usage(chat: ChatOpenAI) -> None:
    message = chat.invoke(TURNS)
    assert "ello" in message.text
    usage = message.usage_metadata
    assert usage is not None
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] > 0
    assert message.response_metadata["finish_reason"] == "stop"


def test_a_stream_adds_up_to_the_answer(chat: ChatOpenAI) -> None:
    plain = chat.invoke(TURNS)
    whole: Any = None
    for chunk in chat.stream(TURNS):
        whole = chunk if whole is None else whole + chunk
    assert isinstance(whole, AIMessageChunk)
    assert whole.text == plain.text
    assert whole.usage_metadata == plain.usage_metadata


async def test_it_asks_in_batches_and_streams_without_blocking(chat: ChatOpenAI) -> None:
    prompts: list[Any] = [f"Say {word}." for word in ("one", "two", "three", "four")]
    answers = await chat.abatch(prompts)
    streamed = ["".join([chunk.text async for chunk in chat.astream(prompt)]) for prompt in prompts]
    assert streamed == [answer.text for answer in answers]


def test_a_structured_answer_has_its_type(chat: ChatOpenAI) -> None:
    prompt = ChatPromptTemplate.from_messages([("system", "Judge the mood."), ("human", "{text}")])
    chain = prompt | chat.with_structured_output(Mood, method="json_schema")
    assert isinstance(chain.invoke({"text": "What a wonderful day!"}), Mood)


def test_a_tool_is_called(chat: ChatOpenAI) -> None:
    message = chat.bind_tools([Mood], tool_choice="Mood").invoke("What a wonderful day!")
    (call,) = message.tool_calls
    assert call["name"] == "Mood"
    Mood(**call["args"])


def test_responses_are_an_option(chat: ChatOpenAI) -> None:
    responses = chat.model_copy(update={"use_responses_api": True})
    assert responses.invoke("Say hello.").text == "".join(one.text for one in responses.stream("Say hello."))


def test_texts_are_continued(server: Server, api_key: str) -> None:
    llm = OpenAI(
        model=MODEL,
        base_url=f"{server.url}/v1",
        api_key=SecretStr(api_key),
        temperature=0,
        max_tokens=8,
        max_retries=0,
    )
    prompt = "The capital of France is"
    assert "".join(llm.stream(prompt)) == llm.invoke(prompt)
    told = llm.generate([prompt, "One, two,"]).llm_output
    assert told
    assert told["token_usage"]["completion_tokens"] == 16
