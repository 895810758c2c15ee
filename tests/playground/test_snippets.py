"""The programs that "View code" shows, run as they are."""

from __future__ import annotations

import json
import subprocess
import sys

from playwright.sync_api import Page

from tests.playground.chat import ask, be_greedy, replies, set_max_tokens


def test_view_code_shows_a_python_program_that_runs(playground: Page, api_key: str) -> None:
    playground.get_by_label("System prompt").fill("You are \"brief\" and don't say 'no'.\nNever.")
    playground.get_by_label("Seed").fill("5")
    be_greedy(playground)
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
