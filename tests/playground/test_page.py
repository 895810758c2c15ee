"""The playground's page in a real browser, with the real model behind it."""

from __future__ import annotations

import re

from playwright.sync_api import Page, WebSocketRoute, expect

from tests.playground.chat import SLOW, WRITING, ask, ask_for_more_than_one_waits_for, replies, set_max_tokens


def test_a_reply_streams_in_with_its_numbers(playground: Page) -> None:
    set_max_tokens(playground, 60)
    ask(playground, "Write about the sea.")
    body = playground.locator(".message-assistant .message-body")
    expect(body).not_to_be_empty(timeout=SLOW)
    early = body.inner_text()
    assert playground.locator(WRITING).count() == 1, "the reply came in one piece"
    reply = replies(playground)
    assert len(body.inner_text()) > len(early)
    expect(reply.locator("[data-stats]")).to_have_text(
        re.compile(r"First token .+ · [\d.]+ tokens/s · \d+ tokens in · \d+ tokens out")
    )
    expect(playground.locator("#announcer")).to_contain_text("Reply:")


def test_the_stop_button_stops_and_keeps_what_was_written(playground: Page) -> None:
    ask_for_more_than_one_waits_for(playground)
    playground.get_by_role("button", name="Stop", exact=True).click()
    reply = replies(playground)
    expect(reply).to_contain_text("You stopped this reply.")
    assert reply.locator(".message-body").inner_text()
    expect(playground.get_by_label("Message", exact=True)).to_be_focused()


def test_enter_that_ends_a_composition_does_not_send(playground: Page) -> None:
    box = playground.get_by_label("Message", exact=True)
    box.focus()
    session = playground.context.new_cdp_session(playground)
    session.send("Input.imeSetComposition", {"text": "ni", "selectionStart": 2, "selectionEnd": 2})
    playground.evaluate(
        """() => document.activeElement.dispatchEvent(new KeyboardEvent("keydown",
            {key: "Enter", keyCode: 229, isComposing: true, bubbles: true, cancelable: true}))"""
    )
    session.send("Input.insertText", {"text": "你好"})
    expect(box).to_have_value("你好")
    assert playground.locator(".message").count() == 0
    set_max_tokens(playground, 2)
    box.press("Enter")
    expect(playground.locator(".message-user .message-body")).to_have_text("你好")


def test_shift_enter_starts_a_new_line(playground: Page) -> None:
    box = playground.get_by_label("Message", exact=True)
    box.type("one")
    box.press("Shift+Enter")
    box.type("two")
    expect(box).to_have_value("one\ntwo")
    assert playground.locator(".message").count() == 0


def test_chats_are_kept_renamed_and_deleted(playground: Page) -> None:
    set_max_tokens(playground, 2)
    ask(playground, "First chat")
    replies(playground)
    playground.get_by_role("button", name="New chat").click()
    expect(playground.locator(".message")).to_have_count(0)
    playground.reload()
    playground.get_by_role("button", name="First chat").first.click()
    expect(playground.locator(".message")).to_have_count(2)
    playground.locator(".conversation").hover()
    playground.get_by_role("button", name="Rename: First chat").click()
    playground.get_by_label("Title of the chat").fill("Rivers")
    playground.keyboard.press("Enter")
    playground.locator(".conversation").hover()
    playground.get_by_role("button", name="Delete: Rivers").click()
    expect(playground.locator(".conversation")).to_have_count(0)
    playground.get_by_role("button", name="Undo").click()
    expect(playground.locator(".conversation")).to_contain_text("Rivers")


def test_editing_a_message_replaces_what_came_after_it(playground: Page) -> None:
    set_max_tokens(playground, 2)
    ask(playground, "One")
    replies(playground)
    ask(playground, "Two")
    replies(playground, 2)
    playground.locator(".message-user").first.get_by_role("button", name="Edit").click()
    playground.get_by_label("Edit the message").fill("Changed")
    playground.keyboard.press("Enter")
    replies(playground)
    expect(playground.locator(".message-user .message-body")).to_have_text(["Changed"])


def test_regenerate_asks_for_the_last_reply_again(playground: Page) -> None:
    set_max_tokens(playground, 60)
    ask(playground, "Hello!")
    replies(playground)
    playground.get_by_role("button", name="Regenerate").click()
    expect(playground.locator(WRITING)).to_have_count(1)
    replies(playground)
    expect(playground.locator(".message")).to_have_count(2)


def test_a_suggestion_is_one_click_from_its_reply(playground: Page) -> None:
    set_max_tokens(playground, 2)
    playground.locator(".suggestion").first.click()
    replies(playground)


def test_a_chat_over_the_context_says_what_to_do(playground: Page) -> None:
    ask(playground, "word " * 20_000)
    expect(replies(playground).locator("[data-error]")).to_contain_text("Start a new chat")


def test_a_dropped_line_comes_back_by_itself(playground: Page) -> None:
    lines: list[WebSocketRoute] = []

    def through(line: WebSocketRoute) -> None:
        line.connect_to_server()
        lines.append(line)

    playground.route_web_socket("**/ws/playground/", through)
    playground.reload()
    notice = playground.locator("#notice")
    expect(notice).to_be_hidden(timeout=SLOW)
    ask_for_more_than_one_waits_for(playground)
    lines[0].close(code=1012)
    expect(replies(playground).locator("[data-error]")).to_contain_text("connection was lost")
    expect(notice).to_be_hidden(timeout=SLOW)
    assert len(lines) == 2
    set_max_tokens(playground, 2)
    playground.get_by_role("button", name="Try again").click()
    expect(replies(playground).locator("[data-error]")).to_be_hidden()


def test_signing_out_elsewhere_asks_to_sign_in_again(playground: Page) -> None:
    other = playground.context.new_page()
    other.goto("/console/")
    other.locator("[popovertarget=account-menu]").click()
    other.get_by_role("button", name="Sign out").click()
    other.wait_for_url(lambda url: "/console/" not in url)
    ask(playground, "Hello!")
    expect(playground.locator("#notice")).to_contain_text("Your session has ended")
    expect(playground.locator("#notice").get_by_role("link", name="Sign in")).to_be_visible()
