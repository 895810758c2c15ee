"""What is written in the playground, by people and by models, as the page shows it."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page, expect

from tests.playground.chat import ask, set_max_tokens


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
