"""How fast is the path around the model? Ours beside LiteLLM proxy, both with a model that costs nothing.

    make bench-gateway

Each server has one core and the load generator another. While one server is measured the other is stopped
(SIGSTOP), and they take turns, so that whatever else the machine does hits both. Ours does everything that
it does for a real request: key, rate limit, tokenizer, engine thread, durable usage. The peer checks its
master key, keeps no books, and answers from ``mock_response``.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.report import write_result

ROOT = Path(__file__).resolve().parent.parent
PEER = ROOT / "var" / "gateway-peer" / "bin"
OURS_PORT, PEER_PORT, STREAMS_PORT = 8471, 8472, 8473
ROUNDS = 5
SECONDS = 5.0  # of each measurement
WARM_UP = 2.0  # seconds
STREAMS, EVENTS, STEP_MS = 200, 60, 50
START_TIMEOUT = 120.0
PEER_KEY = "sk-benchmark"
MESSAGES = [{"role": "user", "content": "Say hello to everybody who reads this."}]


@dataclass(frozen=True)
class Case:
    """``better`` is which way the figure should go."""

    name: str
    connections: int
    figure: str
    better: str


CASES = (
    Case("requests/s, 32 connections", 32, "requests_per_second", "more"),
    Case("p50 ms, 32 connections", 32, "p50_ms", "less"),
    Case("p99 ms, 32 connections", 32, "p99_ms", "less"),
    Case("p50 ms, 1 connection", 1, "p50_ms", "less"),
    Case("p99 ms, 1 connection", 1, "p99_ms", "less"),
)


class Gateway:
    """A server process under test."""

    def __init__(self, name: str, port: int, key: str, model: str, process: subprocess.Popen[bytes]) -> None:
        self.name, self.port, self.key, self.model, self.process = name, port, key, model, process

    def measure(self, connections: int, seconds: float) -> dict[str, float]:
        body = {"model": self.model, "messages": MESSAGES, "max_tokens": 1}
        load = {"path": "/v1/chat/completions", "body": body, "connections": connections, "seconds": seconds}
        with self.awake():
            return run_load({**load, "port": self.port, "key": self.key})

    @contextmanager
    def awake(self) -> Iterator[None]:
        self.process.send_signal(signal.SIGCONT)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGSTOP)


def cores() -> tuple[set[int], set[int]]:
    """One for the server, one for the load generator; the same one where there is no other."""
    own = sorted(os.sched_getaffinity(0))
    return {own[0]}, {own[-1]}


def spawn(command: list[str], log: Path, core: set[int], **environment: str) -> subprocess.Popen[bytes]:
    with log.open("ab") as file:
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **environment},
            stdout=file,
            stderr=subprocess.STDOUT,
            preexec_fn=lambda: os.sched_setaffinity(0, core),
        )


def run_load(load: dict[str, Any]) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gateway_load", json.dumps(load)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        preexec_fn=lambda: os.sched_setaffinity(0, cores()[1]),
    )
    if done.returncode:
        raise SystemExit(f"The load on port {load['port']} failed:\n{done.stderr}")
    return json.loads(done.stdout)


@contextmanager
def started(
    command: list[str], folder: Path, url: str, key: str = "", **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    log = folder / "server.log"
    process = spawn(command, log, cores()[0], **environment)
    try:
        wait_for(url, key, process, log)
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()


def wait_for(url: str, key: str, process: subprocess.Popen[bytes], log: Path) -> None:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {key}"})
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError), urllib.request.urlopen(request, timeout=5) as answer:
            if answer.status == 200:
                return
        time.sleep(0.2)
    raise SystemExit(f"A server did not get ready:\n{log.read_text()[-4000:]}")


@contextmanager
def our_gateway(folder: Path, port: int, **environment: str) -> Iterator[Gateway]:
    folder.mkdir()
    models = ROOT / "var" / "models"
    models.mkdir(parents=True, exist_ok=True)
    (folder / "models").symlink_to(models)
    settings = {
        "DATA_DIR": str(folder),
        "PORT": str(port),
        # The limiter works as always, and refuses nobody.
        "RATE_LIMIT_PER_SECOND": "1000000",
        "RATE_LIMIT_BURST": "1000000",
        **environment,
    }
    command = [sys.executable, "-m", "benchmarks.gateway_server"]
    with started(command, folder, f"http://127.0.0.1:{port}/readyz", **settings) as process:
        key = create_key(settings)
        yield Gateway("ours", port, key, "smollm2-135m-instruct", process)


def create_key(settings: dict[str, str]) -> str:
    command = [sys.executable, "manage.py", "createkey", "--email", "bench@example.com", "--name", "bench"]
    done = subprocess.run(
        [*command, "--create-user"],
        cwd=ROOT,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()[-1]


@contextmanager
def peer_gateway(folder: Path) -> Iterator[Gateway]:
    folder.mkdir()
    config = folder / "config.json"  # YAML, of which JSON is a part
    model = {"model": "openai/mock", "api_key": "none", "mock_response": "the"}
    document = {
        "model_list": [{"model_name": "mock", "litellm_params": model}],
        "general_settings": {"master_key": PEER_KEY},
        "litellm_settings": {"telemetry": False},
    }
    config.write_text(json.dumps(document), encoding="utf-8")
    command = [str(PEER / "litellm"), "--config", str(config), "--host", "127.0.0.1"]
    command += ["--port", str(PEER_PORT), "--num_workers", "1"]
    environment = {
        "LITELLM_LOG": "ERROR",
        "LITELLM_MODE": "PRODUCTION",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "PATH": f"{PEER}:{os.environ['PATH']}",
    }
    url = f"http://127.0.0.1:{PEER_PORT}/health/liveliness"
    with started(command, folder, url, PEER_KEY, **environment) as process:
        yield Gateway("peer", PEER_PORT, PEER_KEY, "mock", process)


def compare(folder: Path, rounds: int, tick: Callable[[str], None]) -> list[dict[str, Any]]:
    figures: dict[tuple[str, int], list[dict[str, float]]] = {}
    with our_gateway(folder / "ours", OURS_PORT) as ours, peer_gateway(folder / "peer") as peer:
        for gateway in (ours, peer):
            gateway.process.send_signal(signal.SIGSTOP)
        for gateway in (ours, peer):
            gateway.measure(32, WARM_UP)
        for number in range(rounds):
            for gateway in (ours, peer):
                for connections in (32, 1):
                    tick(f"round {number + 1}, {gateway.name}, {connections} connections")
                    found = gateway.measure(connections, SECONDS)
                    figures.setdefault((gateway.name, connections), []).append(found)
    return [row(case, figures) for case in CASES]


def row(case: Case, figures: dict[tuple[str, int], list[dict[str, float]]]) -> dict[str, Any]:
    def median(name: str) -> float:
        return statistics.median(found[case.figure] for found in figures[name, case.connections])

    ours, peer = median("ours"), median("peer")
    ratio = ours / peer if case.better == "more" else peer / ours
    return {
        "case": case.name,
        "ours": round(ours, 2),
        "peer": round(peer, 2),
        "ratio": round(ratio, 2),
    }


def measure_streams(folder: Path, rounds: int, tick: Callable[[str], None]) -> dict[str, Any]:
    """From the end of the engine's step to the moment when the client has read the token's chunk."""
    log = folder / "steps.jsonl"
    body = {
        "model": "smollm2-135m-instruct",
        "prompt": "Once upon a time",
        "max_tokens": EVENTS,
        "stream": True,
    }
    late: list[list[float]] = []
    with our_gateway(folder / "streams", STREAMS_PORT, STEP_MS=str(STEP_MS), STEP_LOG=str(log)) as gateway:
        load = {"port": gateway.port, "path": "/v1/completions", "key": gateway.key, "body": body}
        for number in range(rounds):
            tick(f"round {number + 1}, {STREAMS} streams")
            found = run_load({**load, "connections": STREAMS, "events": EVENTS})
            late.append(lateness(found["streams"], log))
    return {
        "case": f"ms from step to client, {STREAMS} streams, {STEP_MS} ms a step",
        **{name: round(statistics.median(quantile(run, share) for run in late), 2) for name, share in SHARES},
    }


SHARES = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0))


def quantile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def lateness(streams: dict[str, list[float]], log: Path) -> list[float]:
    """Milliseconds of every chunk, ordered, once all the streams run."""
    made: dict[tuple[str, int], float] = {}
    for line in log.read_text(encoding="utf-8").splitlines():
        at, tokens = json.loads(line)
        made.update({(request_id.rpartition("-")[0], index): at for request_id, index in tokens})
    everybody = max(made[request_id, 0] for request_id in streams)
    return sorted(
        (read - made[request_id, index]) * 1000
        for request_id, times in streams.items()
        for index, read in enumerate(times)
        if made[request_id, index] >= everybody
    )


class Bar:
    def __init__(self, total: int) -> None:
        self._total, self._done = total, 0

    def __call__(self, label: str) -> None:
        filled = 30 * self._done // self._total
        self._done += 1
        print(f"\r[{'#' * filled:30}] {label:50}", end="", file=sys.stderr, flush=True)


def peer_version() -> str:
    command = [str(PEER / "python"), "-c", "import importlib.metadata as m; print(m.version('litellm'))"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    tick = Bar(rounds * 5 + 1)
    tick("starting both gateways")
    with tempfile.TemporaryDirectory(prefix="bench-gateway-") as name:
        rows = compare(Path(name), rounds, tick)
        streams = measure_streams(Path(name), rounds, tick)
    print(file=sys.stderr)
    for found in rows:
        ours, peer, ratio = found["ours"], found["peer"], found["ratio"]
        print(f"{found['case']:30} ours {ours:>9}  LiteLLM {peer:>9}  {ratio} x")
    print(f"{streams['case']}: " + ", ".join(f"{name} {streams[name]}" for name, _ in SHARES))
    name = {"peer_name": "LiteLLM proxy", "peer_version": peer_version()}
    write_result("gateway", [{**found, **name} for found in rows] + [streams])


if __name__ == "__main__":
    main()
