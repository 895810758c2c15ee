"""Run by hand: every page in eight combinations (light, dark × English, Chinese × 1440, 390 wide).

    python -m tests.screenshots http://127.0.0.1:8000 EMAIL PASSWORD FOLDER [PATH ...]

Look at each picture, and change what you would not show a customer.
"""

from __future__ import annotations

import itertools
import shutil
import sys
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.conftest import CHROMIUM_FLAGS

SIGNED_OUT = ["/", "/accounts/login/", "/accounts/signup/", "/accounts/password/reset/", "/nothing-here/"]
SIGNED_IN = [
    "/console/",
    "/console/keys/",
    "/console/usage/?range=30d",
    "/console/models/",
    "/console/people/",
    "/playground/",
    "/docs/",
    "/accounts/password/change/",
]
LOOKS = list(itertools.product(("light", "dark"), ("en-US", "zh-CN"), (1440, 390)))


def main(url: str, email: str, password: str, folder: str, *paths: str) -> None:
    Path(folder).mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=CHROMIUM_FLAGS)
        cookies = sign_in(browser, url, email, password)
        for path in paths or SIGNED_OUT + SIGNED_IN:
            for look in LOOKS:
                context = open_context(browser, url, *look)
                if path not in SIGNED_OUT:
                    context.add_cookies(cookies)
                shoot(context.new_page(), path, Path(folder), "-".join(map(str, look)))
                context.close()
        browser.close()


def open_context(browser: Browser, url: str, scheme: str, locale: str, width: int) -> BrowserContext:
    return browser.new_context(
        base_url=url,
        color_scheme=scheme,  # type: ignore[arg-type]
        locale=locale,
        viewport={"width": width, "height": 900 if width > 1000 else 844},
    )


def sign_in(browser: Browser, url: str, email: str, password: str) -> list[dict[str, object]]:
    context = browser.new_context(base_url=url)
    page = context.new_page()
    page.goto("/accounts/login/")
    page.locator("input[name=login]").fill(email)
    page.locator("input[name=password]").fill(password)
    page.locator("main form button[type=submit]").click()
    page.wait_for_url("**/console/**")
    cookies = [dict(cookie) for cookie in context.cookies() if cookie["name"] == "sessionid"]
    context.close()
    return cookies


def shoot(page: Page, path: str, folder: Path, look: str) -> None:
    page.on(
        "console",
        lambda line: sys.stderr.write(f"{path} {look} {line.text}\n") if line.type == "error" else None,
    )
    page.on("pageerror", lambda error: sys.stderr.write(f"{path} {look} {error}\n"))
    page.goto(path)
    page.wait_for_timeout(500)
    if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
        sys.stderr.write(f"{path} {look} is wider than the window\n")
    name = path.partition("?")[0].strip("/").replace("/", "-") or "home"
    page.screenshot(path=folder / f"{name}-{look}.png", full_page=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
