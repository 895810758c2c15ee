"""The page of batches: one's own, how far they are, and their files."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import openai
import pytest
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Page, expect

from apikeys import keys
from console.models import User
from serving.batches.models import Batch
from tests.console.test_browser import clipboard, mint
from tests.playground.chat import SLOW
from tests.server import Server

PAGE = "/console/batches/"
LIVE = "/console/batches/live/"


def make_batch(owner: User, **fields: Any) -> Batch:
    key = keys.mint(owner, "nightly")[0]
    fields = {"status": "in_progress", "expires_at": timezone.now() + timedelta(days=1), **fields}
    return Batch.objects.create(
        project=key.project, key=key, endpoint="/v1/completions", input_file_id="file-1", **fields
    )


def test_one_sees_ones_own_and_how_far_they_are(as_person: Client, person: User) -> None:
    make_batch(person, total=1200, completed=30, failed=4)
    make_batch(
        person, status="failed", errors=[{"line": 7, "message": "No 'model'.", "code": "", "param": ""}]
    )
    for path in (PAGE, LIVE):
        page = as_person.get(path).content.decode()
        assert "34 of 1,200" in page
        assert "4 failed" in page
        assert "#7: No &#x27;model&#x27;." in page
        assert page.count("nightly") == 2


def test_what_is_foreign_is_not_there(as_person: Client, administrator: User) -> None:
    batch = make_batch(administrator, output_file_id="file-1-output")
    assert batch.id not in as_person.get(PAGE).content.decode()
    assert as_person.post(f"{PAGE}{batch.id}/cancel/").status_code == 404
    assert as_person.get(f"{PAGE}{batch.id}/output/").status_code == 404


@pytest.mark.parametrize(("status", "after"), [("in_progress", "cancelling"), ("completed", "completed")])
def test_cancelling_ends_what_has_not_ended(as_person: Client, person: User, status: str, after: str) -> None:
    batch = make_batch(person, status=status)
    page = as_person.post(f"{PAGE}{batch.id}/cancel/", follow=True).content.decode()
    batch.refresh_from_db()
    assert batch.status == after
    assert ("is being cancelled" in page) == (after == "cancelling")


def test_a_batch_comes_to_its_end_while_one_looks(member: Page, server: Server, tmp_path: Path) -> None:
    key = mint(member, "For batches")
    member.goto(PAGE)
    expect(member.get_by_text("No batch yet")).to_be_visible()
    member.get_by_role("tab", name="Python").click()
    member.locator(".code .copy").click()
    code = clipboard(member).replace("YOUR_API_KEY", key)
    started = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key=key)
    while not list(client.batches.list()):
        member.wait_for_timeout(50)
    member.reload()
    row = member.locator("tbody tr")
    expect(row).to_contain_text("For batches")
    expect(row).to_contain_text("2 of 2", timeout=SLOW)
    expect(row).to_contain_text("Done", timeout=SLOW)
    with member.expect_download() as download:
        row.get_by_role("link", name="Answers").click()
    answers = download.value.path().read_text()
    assert [json.loads(line)["custom_id"] for line in answers.splitlines()] == ["first", "second"]
    assert started.communicate(timeout=30)[0].strip() == answers.strip(), "the example prints them too"
