from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.playground.chat import SLOW


@pytest.fixture
def playground(member: Page) -> Page:
    """The page of somebody signed in, once a message can be sent."""
    member.goto("/playground/")
    expect(member.locator("#notice")).to_be_hidden(timeout=SLOW)
    return member
