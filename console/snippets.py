"""Calls that a reader can run as they are: with this site's own address and, when known, a key."""

from __future__ import annotations

from dataclasses import dataclass

from django.http import HttpRequest

KEY_TO_FILL_IN = "YOUR_API_KEY"
MODEL = "open-autoglm-7b"

_CURL = """\
curl {base}/v1/chat/completions \\
  -H "Authorization: Bearer {key}" \\
  -H "Content-Type: application/json" \\
  -d '{{
    "model": "{model}",
    "messages": [
      {{"role": "user", "content": "{prompt}"}}
    ]
  }}'
"""
_PYTHON = """\
# pip install requests
import requests

url = "{base}/v1/completions"
headers = {{"Authorization": "Bearer {key}", "Content-Type": "application/json"}}
data = {{"model": "{model}", "prompt": "{prompt}", "max_tokens": 100, "temperature": 0.7}}
response = requests.post(url, json=data, headers=headers)
print(response.json()["choices"][0]["text"])
"""
_OPENAI = """\
# pip install openai
from openai import OpenAI

client = OpenAI(base_url="{base}/v1", api_key="{key}")
stream = client.chat.completions.create(
    model="{model}",
    messages=[{{"role": "user", "content": "{prompt}"}}],
    stream=True,
)
for chunk in stream:
    print(chunk.choices[0].delta.content or "", end="", flush=True)
"""


@dataclass(frozen=True, slots=True)
class Snippet:
    id: str
    label: str
    language: str  # of highlight.js
    code: str


def base_url(request: HttpRequest) -> str:
    """This site, as the reader's browser reaches it."""
    return request.build_absolute_uri("/").rstrip("/")


def quick_start(request: HttpRequest, key: str = KEY_TO_FILL_IN) -> list[Snippet]:
    """The first call in three dialects, ready to paste."""
    return [
        Snippet(id, label, language, _filled_in(code, request, key))
        for id, label, language, code in (
            ("curl", "curl", "bash", _CURL),
            ("python", "Python", "python", _PYTHON),
            ("openai", "openai", "python", _OPENAI),
        )
    ]


def _filled_in(code: str, request: HttpRequest, key: str) -> str:
    prompt = (
        "请解释什么是机器学习?" if request.LANGUAGE_CODE.startswith("zh") else "What is machine learning?"
    )
    return code.format(base=base_url(request), key=key, model=MODEL, prompt=prompt).strip()
