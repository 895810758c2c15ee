"""The programs that the page of examples shows, run as they are."""

from __future__ import annotations

import html
import re
import runpy
import shutil
import subprocess
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Page

from console.examples import FOLDER, TOPICS
from tests.console.test_browser import clipboard
from tests.server import Server

NAMES = [topic.name for topic in TOPICS]


@pytest.fixture(scope="module")
def shown(server: Server, api_key: str) -> dict[str, str]:
    """What the page shows, with a key filled in, by the id of its tab's panel."""
    page = requests.get(f"{server.url}/examples/", timeout=10).text
    codes = re.findall(r'<pre[^>]* id="([\w-]+)"[^>]*><code[^>]*>(.*?)</code>', page, re.DOTALL)
    return {name: html.unescape(code).replace("YOUR_API_KEY", api_key) for name, code in codes}


def test_every_program_of_the_folder_is_on_the_page(shown: dict[str, str]) -> None:
    assert {path.stem for path in FOLDER.iterdir()} == set(NAMES)
    assert len(shown) == len(list(FOLDER.iterdir())) == 3 * len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_calls_with_curl_run(shown: dict[str, str], name: str, tmp_path: Path) -> None:
    command = shown[f"{name}-code-curl"]
    done = subprocess.run(
        ["bash", "-ec", command], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    assert '"error": {' not in done.stdout
    assert len(done.stdout) > 20


@pytest.mark.parametrize("name", NAMES)
def test_the_programs_in_python_run(
    shown: dict[str, str],
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    program = tmp_path / "program.py"
    program.write_text(shown[f"{name}-code-python"])
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(program))
    assert len(capsys.readouterr().out) > 5


@pytest.mark.skipif(shutil.which("node") is None, reason="Node is on machines with npm only")
@pytest.mark.parametrize("name", NAMES)
def test_the_programs_in_javascript_run(shown: dict[str, str], name: str, tmp_path: Path) -> None:
    program = tmp_path / "program.mjs"
    program.write_text(shown[f"{name}-code-javascript"])
    done = subprocess.run(["node", program], capture_output=True, text=True, timeout=60, check=True)
    assert len(done.stdout) > 5


def test_a_copied_program_has_this_sites_address_and_the_chosen_model(page: Page, server: Server) -> None:
    page.goto("/examples/")
    page.get_by_role("link", name="smollm2-135m-instruct").click()
    section = page.locator("#streaming")
    section.get_by_role("tab", name="JavaScript").click()
    section.get_by_role("button", name="Copy").click()
    code = clipboard(page)
    assert f'"{server.url}/v1/chat/completions"' in code
    assert 'model: "smollm2-135m-instruct"' in code
