"""The main job, end to end, as a newcomer does it: one person, one browser, one program."""

from __future__ import annotations

import re
import time
from collections import Counter

import pytest
from openai import AuthenticationError, OpenAI
from playwright.sync_api import Page, expect

from tests.server import Server

EMAIL, PASSWORD = "newcomer@example.com", "a long walk to the sea"
MODEL = "open-autoglm-7b"
SLOW = 60_000  # ms for the model, on a busy machine
BOOKED_WITHIN = 5.0  # seconds from an answer to its line on the page: the writer gathers for a moment

Tokens = tuple[int, int]  # in, out


def test_newcomer_signs_up_mints_calls_chats_sees_usage_and_revokes(server: Server, page: Page) -> None:
    sign_up(page)
    key = mint(page)
    client = OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0)
    answered = [complete(client), stream_chat(client), chat_in_playground(page)]
    expect_usage(page, answered)
    revoke(page)
    with pytest.raises(AuthenticationError, match="revoked"):
        client.models.list()


def sign_up(page: Page) -> None:
    page.goto("/")
    page.get_by_role("link", name="Sign up").first.click()
    page.get_by_label("Email address").fill(EMAIL)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Create account").click()
    page.wait_for_url("**/console/")


def mint(page: Page) -> str:
    page.get_by_role("link", name="API keys").first.click()
    page.get_by_label("Name").fill("my laptop")
    page.get_by_role("button", name="Mint key").click()
    page.get_by_role("button", name="Copy key").click()
    copied: str = page.evaluate("navigator.clipboard.readText()")
    assert copied == page.locator("#minted-key").inner_text()
    return copied


def complete(client: OpenAI) -> Tokens:
    answer = client.completions.create(
        model=MODEL, prompt="请解释什么是机器学习?", max_tokens=20, temperature=0
    )
    assert answer.choices[0].text
    assert answer.usage is not None
    return answer.usage.prompt_tokens, answer.usage.completion_tokens


def stream_chat(client: OpenAI) -> Tokens:
    chunks = list(
        client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": "What is the capital of France?"}],
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert "Paris" in text
    assert len(chunks) > 4
    assert chunks[-1].usage is not None
    return chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens


def chat_in_playground(page: Page) -> Tokens:
    page.get_by_role("link", name="Playground").first.click()
    message = page.get_by_label("Message", exact=True)
    message.fill("Name three colours.")
    expect(page.get_by_role("button", name="Send", exact=True)).to_be_enabled(timeout=SLOW)
    message.press("Enter")
    reply = page.locator(".message-assistant:not(.is-waiting, .is-writing)")
    expect(reply.locator(".message-body")).not_to_be_empty(timeout=SLOW)
    stats = reply.locator("[data-stats]").inner_text().replace(",", "")
    tokens = re.search(r"(\d+) tokens in · (\d+) tokens out", stats)
    assert tokens is not None, stats
    return int(tokens[1]), int(tokens[2])


def expect_usage(page: Page, answered: list[Tokens]) -> None:
    """The usage page lists each answer, with the tokens that the answer stated."""
    page.get_by_role("link", name="Usage").first.click()
    rows = page.get_by_role("region", name="Latest requests").locator("tbody tr")
    deadline = time.monotonic() + BOOKED_WITHIN
    while rows.count() < len(answered) and time.monotonic() < deadline:
        page.reload()
    expect(rows).to_have_count(len(answered))
    shown = [
        [int(cell.replace(",", "")) for cell in row.locator(".number").all_inner_texts()[:2]]
        for row in rows.all()
    ]
    assert Counter(map(tuple, shown)) == Counter(answered)
    assert sum("Playground" in row.inner_text() for row in rows.all()) == 1


def revoke(page: Page) -> None:
    page.get_by_role("link", name="API keys").first.click()
    page.get_by_role("button", name="Revoke “my laptop”").click()
    page.get_by_role("button", name="Revoke key").click()
    expect(page.get_by_text("Revoked", exact=True)).to_be_visible()
