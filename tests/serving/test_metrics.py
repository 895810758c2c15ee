"""/metrics, scraped as Prometheus does it."""

from __future__ import annotations

import time
from typing import Any

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from serving.metrics import may_scrape
from tests.environment import REPOSITORY
from tests.server import Server

MODEL = "smollm2-135m-instruct"
HOME = {"REMOTE_ADDR": "127.0.0.1"}


def scrape(server: Server) -> dict[tuple[str, str], float]:
    """Every sample's value by its name and what its labels say."""
    response = requests.get(f"{server.url}/metrics", timeout=10)
    assert response.status_code == 200, response.text
    assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name.removeprefix("autoglm_"), ",".join(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def scrape_idle(server: Server) -> dict[tuple[str, str], float]:
    """When nothing that an earlier test left behind is running any more."""
    for _ in range(100):
        told = scrape(server)
        if told["engine_running", MODEL] == told["engine_waiting", MODEL] == 0:
            break
        time.sleep(0.05)
    return told


@pytest.fixture(scope="module")
def grown(server: Server, api_key: str) -> dict[tuple[str, str], float]:
    """By how much each sample grew with one request of 32 prompt tokens and 8 answered ones, sent twice, and
    one that was refused."""
    body: dict[str, Any] = {
        "model": "open-autoglm-7b",
        "prompt": [7] * 32,
        "max_tokens": 8,
        "ignore_eos": True,
    }
    url, headers = f"{server.url}/v1/completions", {"Authorization": f"Bearer {api_key}"}
    before = scrape_idle(server)
    for _ in range(2):
        assert requests.post(url, json=body, headers=headers, timeout=60).status_code == 200
    for wrong in ({"max_tokens": 0}, {"model": "gpt-9"}):
        assert requests.post(url, json=body | wrong, headers=headers, timeout=60).status_code in (400, 404)
    after = scrape(server)
    return {name: value - before.get(name, 0) for name, value in after.items()}


def test_the_engine_tells_what_it_did(grown: dict[tuple[str, str], float]) -> None:
    assert grown["engine_tokens_generated_total", MODEL] == 16
    assert grown["engine_prefix_hits_total", MODEL] >= 1
    assert grown["engine_prefix_tokens_reused_total", MODEL] >= 16
    computed, steps = grown["engine_tokens_computed_total", MODEL], grown["engine_steps_total", MODEL]
    assert 14 < computed <= 2 * (32 + 7) - 16
    assert steps == 16
    assert grown["engine_failed_steps_total", MODEL] == 0


def test_its_times_are_histograms(grown: dict[tuple[str, str], float]) -> None:
    assert grown["engine_step_seconds_count", MODEL] == 16
    assert grown["engine_time_to_first_token_seconds_count", MODEL] == 2
    assert grown["engine_inter_token_seconds_count", MODEL] == 14
    assert grown["engine_inter_token_seconds_sum", MODEL] > 0
    buckets = [value for (name, _), value in grown.items() if name == "engine_step_seconds_bucket"]
    assert buckets == sorted(buckets)
    assert buckets[-1] == 16


def test_requests_are_counted_by_how_they_ended(grown: dict[tuple[str, str], float]) -> None:
    assert grown["requests_total", f"/v1/completions,{MODEL},200"] == 2
    assert grown["requests_total", "/v1/completions,,400"] == 1
    assert grown["requests_total", "/v1/completions,,404"] == 1, "no label is what a caller made up"
    assert grown["tokens_total", f"prompt,{MODEL}"] == 64
    assert grown["tokens_total", f"completion,{MODEL}"] == 16


def test_the_page_on_settings_names_every_metric(server: Server) -> None:
    page = (REPOSITORY / "docs" / "settings.md").read_text()
    text = requests.get(f"{server.url}/metrics", timeout=10).text
    told = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(told) > 15
    assert [name for name in told if f"`{name}`" not in page] == []


def test_behind_a_proxy_nobody_is_at_home(server: Server) -> None:
    for header in ("X-Forwarded-For", "Forwarded"):
        response = requests.get(f"{server.url}/metrics", headers={header: "for=1.2.3.4"}, timeout=10)
        assert response.status_code == 401
        assert response.json()["error"]["code"] == "invalid_api_key"


@pytest.fixture
def token(settings: Any) -> str:
    settings.METRICS_TOKEN = "secret"
    return "secret"


@pytest.mark.parametrize(
    ("meta", "may"),
    [
        (HOME, True),
        ({"REMOTE_ADDR": "::1"}, True),
        ({"REMOTE_ADDR": "::ffff:127.0.0.1"}, True),
        ({"REMOTE_ADDR": "192.168.1.5"}, False),
        ({"REMOTE_ADDR": ""}, False),
        ({**HOME, "HTTP_AUTHORIZATION": "Bearer secret", "HTTP_X_FORWARDED_FOR": "1.2.3.4"}, False),
    ],
)
def test_without_a_token_this_machine_alone_may_scrape(meta: dict[str, str], may: bool) -> None:
    assert may_scrape(meta) is may


@pytest.mark.parametrize("authorization", [None, "", "secret", "Bearer", "Bearer wrong", "Bearer sécret"])
def test_with_a_token_only_who_has_it_may(token: str, authorization: str | None) -> None:
    assert may_scrape({"REMOTE_ADDR": "1.2.3.4", "HTTP_AUTHORIZATION": f"Bearer {token}"})
    assert not may_scrape(HOME if authorization is None else {**HOME, "HTTP_AUTHORIZATION": authorization})
