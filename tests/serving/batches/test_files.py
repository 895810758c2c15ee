"""Files: what goes in comes out byte for byte, and what is no batch's input is refused with the reason."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import openai
import pytest
import requests
from django.utils import timezone
from pytest_django import Settings

from apikeys import keys
from console.models import User
from serving.batches import files
from serving.batches.models import Batch, StoredFile
from tests.server import Server
from tests.serving.batches.conftest import jsonl, line, upload

GOOD = jsonl([line("a"), line("b", model="模型")])


def post(server: Server, key: str, fields: dict[str, str], files: dict[str, Any]) -> requests.Response:
    headers = {"Authorization": f"Bearer {key}"}
    return requests.post(f"{server.url}/v1/files", headers=headers, data=fields, files=files, timeout=60)


def test_a_file_comes_out_as_it_went_in_until_it_is_deleted(client: openai.OpenAI) -> None:
    file = client.files.create(file=("问题.jsonl", GOOD), purpose="batch")
    assert (file.bytes, file.filename, file.purpose, file.status) == (
        len(GOOD),
        "问题.jsonl",
        "batch",
        "processed",
    )
    assert client.files.retrieve(file.id) == file
    assert client.files.content(file.id).read() == GOOD
    assert client.files.delete(file.id).deleted
    for call in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(openai.NotFoundError):
            call(file.id)


def test_a_large_file_is_taken_and_given_back(client: openai.OpenAI) -> None:
    """Larger than any other body may be."""
    lines = jsonl([line(f"{n}", prompt="x" * 50_000) for n in range(400)])
    file = client.files.create(file=("large.jsonl", lines), purpose="batch")
    assert client.files.content(file.id).read() == lines
    client.files.delete(file.id)


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "no request"),
        (b"\n \n", "no request"),
        (GOOD + b"{no", "Line 3"),
        (GOOD + b"\n\n[1]\n", "Line 5"),
        (GOOD + b'{"a": "\xff"}', "Line 3"),
        (b'{"a": "' + b"x" * 9_000_000 + b'"}', "Line 1"),
    ],
)
def test_a_line_that_is_no_json_object_is_named(server: Server, api_key: str, data: bytes, word: str) -> None:
    response = post(server, api_key, {"purpose": "batch"}, {"file": ("in.jsonl", data)})
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (400, "file")
    assert word in error["message"]


@pytest.mark.parametrize(
    ("fields", "files", "param"),
    [
        ({}, {"file": GOOD}, "purpose"),
        ({"purpose": "vision"}, {"file": GOOD}, "purpose"),
        ({"purpose": "batch"}, {"other": GOOD}, "other"),
        ({"purpose": "batch", "expires_after[seconds]": "3600"}, {"file": GOOD}, "expires_after"),
        ({"purpose": "batch", "colour": "red"}, {"file": GOOD}, "colour"),
        ({"purpose": "batch", "file": "text"}, {"x": ("", b"")}, "file"),
    ],
)
def test_a_form_that_is_wrong_is_refused_by_name(
    server: Server, api_key: str, fields: dict[str, str], files: dict[str, Any], param: str
) -> None:
    response = post(server, api_key, fields, files)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param), response.text


def test_what_is_no_form_is_415_and_a_broken_one_400(server: Server, api_key: str) -> None:
    headers = {"Authorization": f"Bearer {api_key}"}
    url = f"{server.url}/v1/files"
    assert requests.post(url, json={}, headers=headers, timeout=60).status_code == 415
    headers["Content-Type"] = "multipart/form-data; boundary=x"
    for body in (b"--x\r\n", b"garbage", b"--x\r\nContent-Disposition: form-data\r\n\r\n--x--"):
        response = requests.post(url, data=body, headers=headers, timeout=60)
        assert (response.status_code, set(response.json())) == (400, {"error"}), response.text


def test_nothing_is_kept_of_an_upload_that_is_refused(server: Server, client: openai.OpenAI) -> None:
    kept = upload(client, [line("a")])
    before = set((server.data_dir / "files").iterdir())
    with pytest.raises(openai.BadRequestError):
        client.files.create(file=("in.jsonl", b"nothing"), purpose="batch")
    assert set((server.data_dir / "files").iterdir()) == before
    client.files.delete(kept)
    assert not (server.data_dir / "files" / kept).exists()


def test_an_upload_without_a_key_is_401(server: Server) -> None:
    response = requests.post(f"{server.url}/v1/files", files={"file": GOOD}, timeout=60)
    assert response.status_code == 401
    assert json.loads(response.text)["error"]["code"] == "invalid_api_key"


@pytest.mark.django_db
def test_what_is_old_or_named_by_nobody_is_deleted_in_the_end(settings: Settings, tmp_path: Path) -> None:
    settings.FILES_DIR = tmp_path
    key = keys.mint(User.objects.create_user("ada@example.com"), "key")[0]
    now = timezone.now()
    ids = [f"file-{word}" for word in ("new", "old", "needed", "lost", "fresh")]
    for file_id in ids:
        (tmp_path / file_id).touch()
        if file_id != "file-fresh":
            os.utime(tmp_path / file_id, (0, 0))
    for file_id, age in zip(ids[:3], (timedelta(0), files.KEPT_FOR, files.KEPT_FOR), strict=True):
        files.add(file_id, key.project_id, "in.jsonl", "batch")
        StoredFile.objects.filter(id=file_id).update(created_at=now - age)
    for status, age in (("in_progress", files.KEPT_FOR), ("completed", files.KEPT_FOR)):
        Batch.objects.create(
            project=key.project,
            key=key,
            endpoint="/v1/completions",
            input_file_id="file-needed",
            status=status,
            created_at=now - age,
            expires_at=now,
        )
    assert files.prune() == 2
    assert {path.name for path in tmp_path.iterdir()} == {"file-new", "file-needed", "file-fresh"}
    assert [batch.status for batch in Batch.objects.all()] == ["in_progress"]
