"""The real thing, for every test that needs it: a server process, keys, people, a browser."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.db import connection
from playwright.sync_api import Browser, Page, sync_playwright
from pytest_django import DjangoDbBlocker

from tests.server import Server
from tests.services import Redis

CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_numbers = itertools.count(1)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests of the parts that this run has not are none of its own. Files that take long come first, so that
    none of them is waited for at the end while the other processes have nothing left to do."""
    others = "embedded" if os.environ.get("REDIS_URL") else "services"
    deselected = [item for item in items if item.get_closest_marker(others)]
    config.hook.pytest_deselected(items=deselected)
    items[:] = [item for item in items if not item.get_closest_marker(others)]
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> None:
    """Tests with transactions of their own are cleaned up after by emptying all tables, which the audit
    log would refuse."""
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("DROP TRIGGER audit_truncate ON apikeys_auditentry")
        else:
            cursor.execute("DROP TRIGGER audit_delete")


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    """One that a test may stop, for others need theirs."""
    redis = Redis(tmp_path)
    redis.start()
    redis.wait()
    yield redis
    redis.stop(signal.SIGKILL)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """`manage.py serve` in a process of its own, with the default model loaded."""
    with Server() as server:
        yield server


@pytest.fixture(scope="session")
def api_key(server: Server) -> str:
    """A key for tests that do not come near its limits."""
    return server.create_key("shared@example.com")


@pytest.fixture
def new_key(server: Server) -> Callable[[], str]:
    """Makes keys of people who own nothing else, for tests that count."""
    return lambda: server.create_key(f"person-{next(_numbers)}@example.com")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium. Per module: Playwright's loop must be gone before asyncio tests run."""
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Page]:
    """An empty English page; the test fails when a script of ours throws or breaks the CSP."""
    context = browser.new_context(base_url=server.url, locale="en-US")
    context.set_default_timeout(15_000)
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=server.url)
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda line: complaints.append(line.text) if "Content Security" in line.text else None)
    yield page
    context.close()
    assert complaints == []


@pytest.fixture
def member(server: Server, page: Page) -> Page:
    """A page of somebody who is signed in."""
    session = server.create_session(f"member-{next(_numbers)}@example.com")
    page.context.add_cookies([{"name": "sessionid", "value": session, "url": server.url}])
    page.goto("/console/")
    return page
