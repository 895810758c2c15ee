"""Every page that one can reach: named controls, labelled fields, one heading, contrast in both schemes, on a
phone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal
from urllib.parse import urljoin, urlsplit

from playwright.sync_api import Locator, Page, ViewportSize

from tests.console.test_browser import complete, mint
from tests.server import Server

CHECK = Path(__file__).with_name("page_check.js").read_text()
SCHEMES: tuple[Literal["light"], Literal["dark"]] = ("light", "dark")
PHONE: ViewportSize = {"width": 390, "height": 844}
FOR_STRANGERS = (
    "/",
    "/accounts/login/",
    "/accounts/signup/",
    "/accounts/password/reset/",
    "/accounts/password/reset/done/",
    "/accounts/password/reset/key/1-over/",
    "/accounts/invitation/over/",
    "/nothing-here/",
)
ELSEWHERE = re.compile(r"/docs/|\.csv$|/output/|/error/")  # Swagger's own page, and downloads
LONG = "Forklift-7-in-hall-B-of-the-warehouse-at-the-harbour, the night shift"


def problems_of(page: Page) -> list[str]:
    found: list[str] = []
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        found += [f"{scheme}: {problem}" for problem in page.evaluate(CHECK)]
    return found


def links_in(page: Page) -> list[str]:
    hrefs = page.eval_on_selector_all("a[href]", "links => links.map(link => link.getAttribute('href'))")
    found = [urlsplit(urljoin(page.url, href)) for href in hrefs]
    return [link.path for link in found if link.netloc == urlsplit(page.url).netloc]


def kind_of(path: str) -> str:
    """The same for all keys, all people and so on."""
    return re.sub(r"\d+|req-\w+", "*", path)


def test_pages_for_strangers(page: Page) -> None:
    page.set_viewport_size(PHONE)
    problems: dict[str, list[str]] = {}
    for path in FOR_STRANGERS:
        page.goto(path)
        problems[path] = problems_of(page)
    assert {path: found for path, found in problems.items() if found} == {}


def test_pages_that_an_administrator_reaches_by_links(member: Page, server: Server) -> None:
    email = (member.locator(".account-name").text_content() or "").split()[-1]
    people = f"User.objects.filter(email={email!r})"
    server.shell(f"from console.models import User; {people}.update(is_superuser=True)")
    use_everything(member, server)
    member.set_viewport_size(PHONE)
    waiting = ["/console/", "/accounts/password/change/"]
    seen: set[str] = set()
    problems: dict[str, list[str]] = {}
    while waiting:
        path = waiting.pop()
        if kind_of(path) in seen or ELSEWHERE.search(path):
            continue
        seen.add(kind_of(path))
        member.goto(path)
        waiting += links_in(member)
        problems[path] = problems_of(member)
    assert {path: found for path, found in problems.items() if found} == {}
    assert {"/console/keys/*/", "/console/projects/*/", "/console/people/*/limits/"} <= seen
    assert {"/console/usage/requests/*/", "/playground/", "/console/blocked/"} <= seen


def use_everything(member: Page, server: Server) -> None:
    """So that every list has something in it, with names that are long."""
    complete(server, mint(member, LONG))
    for path, field, text in (
        ("/console/projects/", "name", LONG),
        ("/console/people/", "email", "maximiliane.von-der-schulenburg@machine-learning.example.com"),
        ("/console/blocked/", "network", "2001:db8:85a3:8d3:1319:8a2e:370:7348/128"),
    ):
        member.goto(path)
        form: Locator = member.locator("main form").first
        form.locator(f"[name={field}]").fill(text)
        with member.expect_navigation():
            form.locator("button[type=submit]").click()
