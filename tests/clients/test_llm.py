"""The `llm` command line, with a model declared as its documentation says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.server import Server

Llm = Callable[..., str]

MODELS = """\
- model_id: console
  model_name: open-autoglm-7b
  api_base: {url}/v1
  api_key_name: console
  supports_schema: true
- model_id: console-text
  model_name: open-autoglm-7b
  api_base: {url}/v1
  api_key_name: console
  completion: true
"""
MOOD = {
    "type": "object",
    "properties": {"mood": {"enum": ["happy", "sad"]}},
    "required": ["mood"],
    "additionalProperties": False,
}
ASK = ("-m", "console", "-o", "temperature", "0", "-o", "max_tokens", "30")


@pytest.fixture(scope="module")
def llm(server: Server, api_key: str, tmp_path_factory: pytest.TempPathFactory) -> Llm:
    """Runs it in a home of its own."""
    home = tmp_path_factory.mktemp("llm")
    (home / "extra-openai-models.yaml").write_text(MODELS.format(url=server.url))
    (home / "keys.json").write_text(json.dumps({"console": api_key}))

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "llm", *arguments],
            env={**os.environ, "LLM_USER_PATH": str(home)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


def test_it_streams_the_same_answer_as_it_prints_at_once(llm: Llm) -> None:
    streamed = llm(*ASK, "Say hello.")
    assert "ello" in streamed
    assert llm(*ASK, "--no-stream", "Say hello.") == streamed


def test_a_conversation_is_gone_on_with(llm: Llm) -> None:
    llm(*ASK, "-s", "Be brief.", "Count: one, two,")
    assert llm(*ASK, "-c", "Go on.")
    logged = json.loads(llm("logs", "-n", "2", "--json"))
    assert len({entry["conversation_id"] for entry in logged}) == 1
    assert all(entry["input_tokens"] > 0 and entry["output_tokens"] > 0 for entry in logged)


def test_a_schema_is_followed(llm: Llm) -> None:
    assert json.loads(llm(*ASK, "--schema", json.dumps(MOOD), "What a day!"))["mood"] in ("happy", "sad")


def test_a_text_is_continued(llm: Llm) -> None:
    assert llm("-m", "console-text", "-o", "max_tokens", "5", "The capital of France is")


def test_an_error_is_told(llm: Llm) -> None:
    with pytest.raises(AssertionError, match="temperature"):
        llm("-m", "console", "-o", "temperature", "3", "Hi")
