"""What the tests of the page do with it."""

from __future__ import annotations

from playwright.sync_api import Locator, Page, expect

WRITING = ".is-waiting, .is-writing"
ENDED = ".message-assistant:not(.is-waiting, .is-writing)"
SLOW = 60_000  # ms for the model, on a busy machine


def set_max_tokens(page: Page, tokens: int) -> None:
    page.get_by_label("Max tokens").fill(str(tokens))
    page.get_by_label("Max tokens").press("Tab")


def be_greedy(page: Page) -> None:
    page.locator("[name=temperature]").fill("0")
    page.locator("[name=temperature]").press("Tab")


def ask(page: Page, prompt: str) -> None:
    page.get_by_label("Message", exact=True).fill(prompt)
    page.keyboard.press("Enter")


def ask_for_more_than_one_waits_for(page: Page) -> None:
    """Greedy, the model lists animals until its tokens run out."""
    set_max_tokens(page, 4000)
    be_greedy(page)
    ask(page, "List one hundred animals.")
    expect(page.locator(".is-writing .message-body")).not_to_be_empty(timeout=SLOW)


def replies(page: Page, count: int = 1) -> Locator:
    """The ended replies, as soon as there are ``count`` of them."""
    found = page.locator(ENDED)
    expect(found).to_have_count(count, timeout=SLOW)
    return found
