"""The playground's page in a real browser, with the real model behind it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, WebSocketRoute, expect

WRITING = ".is-waiting, .is-writing"
ENDED = ".message-assistant:not(.is-waiting, .is-writing)"
SLOW = 60_000  # ms for the model, on a busy machine


@pytest.fixture
def playground(member: Page) -> Page:
    member.goto("/playground/")
    expect(member.locator("#notice")).to_be_hidden(timeout=SLOW)
    return member


def set_max_tokens(page: Page, tokens: int) -> None:
    page.get_by_label("Max tokens").fill(str(tokens))
    page.get_by_label("Max tokens").press("Tab")


def ask(page: Page, prompt: str) -> None:
    page.get_by_label("Message", exact=True).fill(prompt)
    page.keyboard.press("Enter")


def ask_for_more_than_one_waits_for(page: Page) -> None:
    """Greedy, the model lists animals until its tokens run out."""
    set_max_tokens(page, 4000)
    page.locator("[name=temperature]").fill("0")
    page.locator("[name=temperature]").press("Tab")
    ask(page, "List one hundred animals.")
    expect(page.locator(".is-writing .message-body")).not_to_be_empty(timeout=SLOW)


def replies(page: Page, count: int = 1) -> Locator:
    """The ended replies, as soon as there are ``count`` of them."""
    found = page.locator(ENDED)
    expect(found).to_have_count(count, timeout=SLOW)
    return found


def seed_chat(page: Page, *messages: dict[str, Any]) -> None:
    """Opens a chat that this browser has kept from an earlier visit."""
    chat = {
        "id": "kept",
        "title": "Kept",
        "named": True,
        "updated": 1,
        "settings": {
            "model": "",
            "system": "",
            "temperature": 0,
            "top_p": 1,
            "max_tokens": 8,
            "seed": 1,
            "stop": [],
        },
        "messages": messages,
    }
    page.evaluate(
        "chat => localStorage.setItem("
        "`playground:${document.getElementById('playground').dataset.user}:kept`, JSON.stringify(chat))",
        chat,
    )
    page.reload()
    page.get_by_role("button", name="Kept").first.click()


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


HOSTILE = """<script>window.hacked = 1</script> <img src=x onerror="window.hacked = 2">
<svg onload="window.hacked = 3"></svg> [click](javascript:window.hacked=4)
<a href="javascript:window.hacked=5">x</a>

![pixel](https://evil.example/pixel.png)

```html"onmouseover="window.hacked=6
<img src=x onerror="window.hacked = 7">
```

| a |
|:-:|
| <iframe srcdoc="<script>parent.hacked = 8</script>"></iframe> |
"""


def test_what_a_model_writes_cannot_run(playground: Page) -> None:
    seed_chat(
        playground,
        {"role": "user", "content": HOSTILE},
        {"role": "assistant", "content": HOSTILE, "model": "m"},
    )
    reply = playground.locator(".message-assistant .message-body")
    expect(reply).to_contain_text("window.hacked = 1")
    for link in reply.locator("a").all():
        link.dispatch_event("click")
    assert playground.evaluate("window.hacked") is None
    assert (
        playground.locator(".transcript :is(script, img, svg, iframe, style, [onload], [onerror])").count()
        == 0
    )
    assert playground.locator(".transcript a[href^='javascript']").count() == 0


def test_what_a_person_writes_is_shown_as_it_is(playground: Page) -> None:
    set_max_tokens(playground, 1)
    ask(playground, "<b>bold</b> <img src=x onerror='window.hacked = 1'>")
    expect(playground.locator(".message-user .message-body")).to_have_text(
        "<b>bold</b> <img src=x onerror='window.hacked = 1'>"
    )
    assert playground.evaluate("window.hacked") is None


MARKDOWN = """# Title

Text with **bold**, `code` and [a reference][ref].

1. one
2. two

   more of two

3. three

```python
def f():

    return "<b>"
```

| left | right |
|------|------:|
| 1 | 2 |

Last paragraph.

[ref]: https://example.com/
"""


def test_a_streamed_reply_ends_as_if_it_had_been_rendered_at_once(playground: Page) -> None:
    streamed, text_on_the_way, whole = playground.evaluate(
        """async (source) => {
            const {renderMarkdown, StreamingMarkdown} = await import("/static/js/playground/markdown.js");
            const frame = () => new Promise(requestAnimationFrame);
            const element = document.createElement("div"), whole = document.createElement("div");
            const stream = new StreamingMarkdown(element, () => {});
            for (let i = 0; i < source.length; i += 3) {
                stream.append(source.slice(i, i + 3));
                await frame();
            }
            await frame();
            const onTheWay = element.textContent;
            stream.finish(source);
            whole.append(renderMarkdown(source));
            return [element.innerHTML, onTheWay, whole.innerHTML];
        }""",
        MARKDOWN,
    )
    assert streamed == whole
    for words in ("Title", "bold", "more of two", 'return "<b>"', "Last paragraph."):
        assert text_on_the_way.count(words) == 1
    assert '<td class="align-right">2</td>' in whole
    assert "hljs-keyword" in whole
    assert 'href="https://example.com/"' in whole


def test_view_code_shows_a_python_program_that_runs(playground: Page, api_key: str) -> None:
    playground.get_by_label("System prompt").fill("You are \"brief\" and don't say 'no'.\nNever.")
    playground.get_by_label("Seed").fill("5")
    set_max_tokens(playground, 12)
    ask(playground, "What is a river?\nSay it in 'two' words.")
    shown = replies(playground).locator(".message-body").inner_text()
    playground.get_by_role("button", name="View code").click()
    for tab in ("openai", "Python"):
        playground.get_by_role("tab", name=tab, exact=True).click()
        source = playground.get_by_role("tabpanel").inner_text()
        assert "YOUR_API_KEY" in source
        done = subprocess.run(
            [sys.executable, "-c", source.replace("YOUR_API_KEY", api_key)],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == shown.split()


def test_view_code_shows_a_curl_command_that_runs(playground: Page, api_key: str) -> None:
    playground.get_by_label("Message", exact=True).fill('It\'s $HOME and `this`: "quoted" \\ 你好')
    set_max_tokens(playground, 3)
    playground.get_by_role("button", name="View code").click()
    playground.get_by_role("tab", name="curl").click()
    command = playground.get_by_role("tabpanel").inner_text().replace("YOUR_API_KEY", api_key)
    done = subprocess.run(
        ["bash", "-c", command.replace("curl ", "curl -s ", 1)], capture_output=True, timeout=120, check=True
    )
    assert json.loads(done.stdout)["usage"]["completion_tokens"] <= 3


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
    set_max_tokens(playground, 4)
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
