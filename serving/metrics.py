"""/metrics for Prometheus: how the engines fare, and how requests ended.

What engines count they count themselves; it is read when somebody asks. Requests are counted where they are
recorded, so that each is counted once, by how it really ended.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import Any

from django.conf import settings
from prometheus_client import CollectorRegistry, Counter, disable_created_metrics
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from serving import runtime
from serving.engine.stats import Distribution, EngineStats

# Names in EngineStats, and what to say of them.
_GAUGES = {
    "running": ("running", "Sequences in the batch."),
    "waiting": ("waiting", "Sequences in the queue."),
    "predicted_wait_seconds": ("predicted_wait_seconds", "Until a request that comes now would be started."),
    "tokens_per_second": ("tokens_per_second", "Generated, over the last ten seconds."),
    "kv_blocks_used": ("kv_blocks_used", "Blocks of the KV cache that sequences hold."),
    "kv_blocks_total": ("kv_blocks", "Blocks of the KV cache."),
    "kv_bytes": ("kv_bytes", "Memory of the whole KV cache."),
    "weight_bytes": ("weight_bytes", "Memory of the weights, as quantized."),
}
_COUNTERS = {
    "steps_total": ("steps", "Steps of the engine."),
    "failed_steps_total": ("failed_steps", "Steps that failed."),
    "tokens_generated_total": ("tokens_generated", "Tokens generated."),
    "tokens_computed_total": ("tokens_computed", "Tokens of prompts and answers that were computed."),
    "prefix_hits_total": ("prefix_hits", "Sequences whose beginning was in the cache."),
    "prefix_tokens_reused_total": (
        "prefix_tokens_reused",
        "Tokens taken from the cache instead of computed.",
    ),
    "preemptions_total": ("preemptions", "Sequences that gave their blocks back for a while."),
}
_HISTOGRAMS = {
    "step_times": ("step_seconds", "Of each step."),
    "first_token_times": ("time_to_first_token_seconds", "From a request's arrival at the engine."),
    "token_intervals": ("inter_token_seconds", "From one token of a sequence to the next."),
}

disable_created_metrics()  # type: ignore[no-untyped-call]
CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
registry = CollectorRegistry()
_requests = Counter(
    "autoglm_requests", "Requests that were recorded.", ("endpoint", "model", "status"), registry=registry
)
_tokens = Counter("autoglm_tokens", "Tokens that were recorded.", ("model", "kind"), registry=registry)


def count_request(endpoint: str, model: str, status: int, prompt_tokens: int, completion_tokens: int) -> None:
    """``model`` is what the caller named: only names of this server become labels."""
    label = runtime.root_of(model)
    _requests.labels(endpoint, label, str(status)).inc()
    if label:
        _tokens.labels(label, "prompt").inc(prompt_tokens)
        _tokens.labels(label, "completion").inc(completion_tokens)


class _Engines(Collector):
    """Asks every model of this process at each scrape."""

    def collect(self) -> Iterable[Metric]:
        statuses = runtime.status()
        ready = GaugeMetricFamily("autoglm_engine_ready", "Whether the model answers.", labels=["model"])
        for status in statuses:
            ready.add_metric([status.name], status.state == "ready")
        yield ready
        yield from _engine_metrics(
            {status.name: status.backend.health() for status in statuses if status.backend}
        )


def _engine_metrics(stats: dict[str, EngineStats]) -> Iterable[Metric]:
    for field, (name, about) in _GAUGES.items():
        gauge = GaugeMetricFamily(f"autoglm_engine_{name}", about, labels=["model"])
        for model, values in stats.items():
            gauge.add_metric([model], getattr(values, field))
        yield gauge
    for field, (name, about) in _COUNTERS.items():
        counter = CounterMetricFamily(f"autoglm_engine_{name}", about, labels=["model"])
        for model, values in stats.items():
            counter.add_metric([model], getattr(values, field))
        yield counter
    for field, (name, about) in _HISTOGRAMS.items():
        histogram = HistogramMetricFamily(f"autoglm_engine_{name}", about, labels=["model"])
        for model, values in stats.items():
            distribution: Distribution = getattr(values, field)
            histogram.add_metric([model], _buckets(distribution), sum_value=distribution.total)
        yield histogram


def _buckets(distribution: Distribution) -> list[tuple[str, float]]:
    bounds = [*map(str, distribution.bounds), "+Inf"]
    return list(zip(bounds, accumulate(distribution.counts), strict=True))


registry.register(_Engines())


def render() -> bytes:
    return generate_latest(registry)


def may_scrape(headers: Mapping[str, Any]) -> bool:
    """Whoever sends METRICS_TOKEN; where there is none, this machine alone. ``headers``: ``request.META``."""
    if token := settings.METRICS_TOKEN:
        given = headers.get("HTTP_AUTHORIZATION", "")
        return hmac.compare_digest(given.encode(), f"Bearer {token}".encode())
    # Behind a proxy on this machine everybody seems to come from here.
    forwarded = any(headers.get(name) for name in ("HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED"))
    return not forwarded and _is_loopback(headers.get("REMOTE_ADDR", ""))


def _is_loopback(address: str) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return bool((getattr(parsed, "ipv4_mapped", None) or parsed).is_loopback)
