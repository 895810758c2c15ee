"""Run by hand: every page in eight looks (light, dark × English, Chinese × 1440, 390 wide).

    python -m tests.screenshots FOLDER [NAME ...]

starts a server of its own, fills it (showcase.py) and takes the pages that are named, or all. Look at each
picture in full size, and change what you would not show a customer. `--readme` takes the README's picture.
"""

from __future__ import annotations

import itertools
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Error,
    Page,
    StorageState,
    sync_playwright,
)

from tests.conftest import CHROMIUM_FLAGS
from tests.environment import REPOSITORY
from tests.server import Server

ADA, GRACE, NEW = "ada@example.com", "grace.hopper@example.com", "new@example.com"
PASSWORD = "correct horse battery"
LOOKS = list(itertools.product(("light", "dark"), ("en-US", "zh-CN"), (1440, 390)))
README_PICTURE = REPOSITORY / "docs" / "images" / "playground.png"
QUESTION = "Write a Python function that checks whether a word is a palindrome."


@dataclass(frozen=True, slots=True)
class Shot:
    """A page as ``who`` sees it (nobody: a stranger), once ``act`` has been done on it."""

    name: str
    path: str
    who: str = ""
    act: Callable[[Page], None] = lambda page: None


def sign_in_wrongly(page: Page) -> None:
    page.locator("input[name=login]").fill(ADA)
    page.locator("input[name=password]").fill("not this one")
    page.locator("main form button[type=submit]").click()
    page.locator("[role=alert]").wait_for()


def sign_up_wrongly(page: Page) -> None:
    page.locator("input[name=email]").fill(ADA)
    page.locator("input[name=password1]").fill("1234")
    page.locator("main form button[type=submit]").click()
    page.locator(".field-error").first.wait_for()


def mint(page: Page) -> None:
    page.locator("input[name=name]").fill("laptop")
    page.locator(".mint-form button[type=submit]").first.click()
    page.locator("#minted-key").wait_for()


def open_first(selector: str) -> Callable[[Page], None]:
    return lambda page: page.locator(selector).first.click()


def chat(page: Page) -> None:
    page.locator("#p-temperature").evaluate(
        "box => { box.value = 0; box.dispatchEvent(new Event('input', {bubbles: true})) }"
    )
    page.locator("#message").fill(QUESTION)
    page.locator("[data-send]:enabled").wait_for(timeout=120_000)
    page.locator("#message").press("Enter")
    page.locator(".message-assistant:not(.is-waiting, .is-writing) [data-stats]").wait_for(timeout=120_000)


def chat_and_view_code(page: Page) -> None:
    chat(page)
    page.locator("#view-code").click()


STRANGERS = (
    Shot("home", "/"),
    Shot("sign-in", "/accounts/login/"),
    Shot("sign-in-wrong", "/accounts/login/", act=sign_in_wrongly),
    Shot("sign-up", "/accounts/signup/"),
    Shot("sign-up-wrong", "/accounts/signup/", act=sign_up_wrongly),
    Shot("reset", "/accounts/password/reset/"),
    Shot("reset-sent", "/accounts/password/reset/done/"),
    Shot("reset-over", "/accounts/password/reset/key/1-over/"),
    Shot("reset-done", "/accounts/password/reset/key/done/"),
    Shot("invitation-over", "/accounts/invitation/nonsense/"),
    Shot("404", "/nothing-here/"),
    Shot("docs-stranger", "/docs/"),
    Shot("examples-stranger", "/examples/"),
)
NEWCOMERS = (
    Shot("overview-empty", "/console/", NEW),
    Shot("keys-empty", "/console/keys/", NEW),
    Shot("projects-empty", "/console/projects/", NEW),
    Shot("usage-empty", "/console/usage/", NEW),
    Shot("batches-empty", "/console/batches/", NEW),
    Shot("sessions-empty", "/console/sessions/", NEW),
    Shot("playground-empty", "/playground/", NEW),
    Shot("join", "join", NEW),
    Shot("403", "/console/people/", NEW),
    Shot("404-member", "/console/nothing-here/", NEW),
    Shot("join-other", "join", GRACE),
    Shot("keys-minted", "/console/keys/", GRACE, mint),
)
MEMBERS = (
    Shot("overview", "/console/", ADA),
    Shot("menu", "/console/", ADA, open_first(".topbar [popovertarget=sidebar]:visible, .account:visible")),
    Shot("keys", "/console/keys/", ADA),
    Shot("keys-more", "/console/keys/", ADA, open_first("details.more summary")),
    Shot("keys-revoke", "/console/keys/", ADA, open_first("[data-dialog^=revoke]")),
    Shot("keys-project", "project-keys", ADA),
    Shot("key", "key", ADA),
    Shot("key-replace", "key", ADA, open_first("[data-dialog=rotate]")),
    Shot("projects", "/console/projects/", ADA),
    Shot("project", "project", ADA),
    Shot("project-member", "project", ADA, open_first("[data-dialog^=member]")),
    Shot("usage", "/console/usage/?range=30d", ADA),
    Shot("usage-everybody", "/console/usage/?range=7d&people=all", ADA),
    Shot("usage-none", "/console/usage/?source=batch", ADA),
    Shot("request", "request", ADA),
    Shot("batches", "/console/batches/", ADA),
    Shot("models", "/console/models/", ADA),
    Shot("sessions", "/console/sessions/", ADA),
    Shot("people", "/console/people/", ADA),
    Shot("person-limits", "person-limits", ADA),
    Shot("prices", "/console/prices/", ADA),
    Shot("audit", "/console/audit/", ADA),
    Shot("audit-project", "project-audit", ADA),
    Shot("blocked", "/console/blocked/", ADA),
    Shot("playground", "/playground/", ADA, chat),
    Shot("playground-code", "/playground/", ADA, chat_and_view_code),
    Shot("docs", "/docs/", ADA),
    Shot("examples", "/examples/", ADA),
    Shot("password", "/accounts/password/change/", ADA),
    Shot("sign-out", "/accounts/logout/", ADA),
)
BROKEN = (Shot("500", "/500.html"), Shot("429", "/429.html"), Shot("403-csrf", "/403_csrf.html"))


def main(*arguments: str) -> None:
    with Server() as server, sync_playwright() as playwright:
        code = f"from tests.showcase import fill; print(fill({ADA!r}, {GRACE!r}, {NEW!r}, {PASSWORD!r}))"
        paths: dict[str, str] = json.loads(server.shell(code))
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=CHROMIUM_FLAGS)
        if arguments == ("--readme",):
            shoot_for_readme(browser, server.url)
        else:
            shoot_all(browser, server, paths, Path(arguments[0]), set(arguments[1:]))
        browser.close()


def shoot_all(
    browser: Browser, server: Server, paths: dict[str, str], folder: Path, wanted: set[str]
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shots = [
        shot for shot in (*STRANGERS, *NEWCOMERS, *MEMBERS, *BROKEN) if shot.name in wanted or not wanted
    ]
    states = {who: sign_in(browser, server.url, who) for who in {shot.who for shot in shots} - {""}}
    broken = render_broken(server)
    for look in LOOKS:
        for shot in shots:
            context = open_context(browser, server.url, *look, states.get(shot.who))
            answer_with(context, broken[look[1]])
            picture = folder / f"{shot.name}-{'-'.join(map(str, look))}.png"
            shoot(context.new_page(), shot, paths.get(shot.path, shot.path), picture)
            context.close()


def open_context(
    browser: Browser, url: str, scheme: str, locale: str, width: int, state: StorageState | None
) -> BrowserContext:
    return browser.new_context(
        base_url=url,
        color_scheme=scheme,  # type: ignore[arg-type]
        locale=locale,
        storage_state=state,
        viewport={"width": width, "height": 900 if width > 1000 else 844},
    )


def sign_in(browser: Browser, url: str, email: str) -> StorageState:
    context = browser.new_context(base_url=url)
    page = context.new_page()
    page.goto("/accounts/login/")
    page.locator("input[name=login]").fill(email)
    page.locator("input[name=password]").fill(PASSWORD)
    page.locator("main form button[type=submit]").click()
    page.wait_for_url("**/console/**")
    state = context.storage_state()
    context.close()
    # The session alone: the language is each picture's own.
    return {"cookies": [cookie for cookie in state["cookies"] if cookie["name"] == "sessionid"]}


def render_broken(server: Server) -> dict[str, dict[str, str]]:
    """By language, then by path: the pages that no request should ever bring up."""
    code = f"from tests.showcase import render; print(render({[shot.path[1:] for shot in BROKEN]}))"
    pages: dict[str, dict[str, str]] = json.loads(server.shell(code))
    return pages


def answer_with(context: BrowserContext, pages: dict[str, str]) -> None:
    for path, html in pages.items():
        context.route(
            f"**/{path}", lambda route, _, html=html: route.fulfill(content_type="text/html", body=html)
        )


def shoot(page: Page, shot: Shot, path: str, picture: Path) -> None:
    def complain(about: ConsoleMessage | Error) -> None:
        if isinstance(about, Error) or (about.type == "error" and "the server responded" not in about.text):
            sys.stderr.write(f"{picture.name} {about}\n")

    page.on("console", complain)
    page.on("pageerror", complain)
    page.goto(path)
    shot.act(page)
    page.wait_for_timeout(250)
    if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
        sys.stderr.write(f"{picture.name} is wider than the window\n")
    page.screenshot(path=picture, full_page=True)


def shoot_for_readme(browser: Browser, url: str) -> None:
    context = open_context(browser, url, "light", "en-US", 1440, sign_in(browser, url, ADA))
    page = context.new_page()
    page.goto("/playground/")
    chat(page)
    page.screenshot(path=README_PICTURE)


if __name__ == "__main__":
    main(*sys.argv[1:])
