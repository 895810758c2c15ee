"""Run by hand: every page in eight combinations (light, dark × English, Chinese × 1440, 390 wide).

    python -m tests.screenshots http://127.0.0.1:8000 EMAIL PASSWORD FOLDER [PATH ...]

Look at each picture, and change what you would not show a customer.
"""

from __future__ import annotations

import itertools
import shutil
import sys
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

SIGNED_OUT = ["/", "/accounts/login/", "/accounts/signup/", "/accounts/password/reset/", "/nothing-here/"]
SIGNED_IN = [
    "/console/",
    "/console/keys/",
    "/console/projects/",
    "/console/usage/?range=30d",
    "/console/batches/",
    "/console/models/",
    "/console/sessions/",
    "/console/people/",
    "/console/prices/",
    "/console/audit/",
    "/console/blocked/",
    "/playground/",
    "/docs/",
    "/accounts/password/change/",
]
LOOKS = list(itertools.product(("light", "dark"), ("en-US", "zh-CN"), (1440, 390)))


def main(url: str, email: str, password: str, folder: str, *paths: str) -> None:
    Path(folder).mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=CHROMIUM_FLAGS)
        signed_in = sign_in(browser, url, email, password)
        for path in paths or SIGNED_OUT + SIGNED_IN:
            for look in LOOKS:
                context = open_context(browser, url, *look, None if path in SIGNED_OUT else signed_in)
                shoot(context.new_page(), path, Path(folder), "-".join(map(str, look)))
                context.close()
        browser.close()


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


def sign_in(browser: Browser, url: str, email: str, password: str) -> StorageState:
    context = browser.new_context(base_url=url)
    page = context.new_page()
    page.goto("/accounts/login/")
    page.locator("input[name=login]").fill(email)
    page.locator("input[name=password]").fill(password)
    page.locator("main form button[type=submit]").click()
    page.wait_for_url("**/console/**")
    state = context.storage_state()
    context.close()
    # The session alone: the language is each picture's own.
    return {"cookies": [cookie for cookie in state["cookies"] if cookie["name"] == "sessionid"]}


def shoot(page: Page, path: str, folder: Path, look: str) -> None:
    def complain(about: ConsoleMessage | Error) -> None:
        if isinstance(about, Error) or about.type == "error":
            sys.stderr.write(f"{path} {look} {about}\n")

    page.on("console", complain)
    page.on("pageerror", complain)
    page.goto(path)
    page.wait_for_timeout(500)
    if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
        sys.stderr.write(f"{path} {look} is wider than the window\n")
    name = path.partition("?")[0].strip("/").replace("/", "-") or "home"
    page.screenshot(path=folder / f"{name}-{look}.png", full_page=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
