"""`manage.py serve` from outside: what stops it before it starts, and how it ends."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import requests

from tests import forked
from tests.environment import make_data_dir
from tests.playground.sockets import Person
from tests.server import Server
from tests.serving.records import find_records

pytestmark = pytest.mark.slow


def run_serve(**environment: str) -> subprocess.CompletedProcess[str]:
    """For starts that must fail."""
    return run(Server(**environment).environment | environment)


def run(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return forked.run(["manage.py", "serve"], environment)


def test_a_taken_port_is_one_line_that_says_what_to_do() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run_serve(PORT=str(port))
    assert done.returncode == 2
    assert done.stderr.splitlines() == [f"Port {port} is taken. Choose another: PORT={port + 1} make run"]


def test_a_bad_models_file_is_one_line_with_the_line_and_the_mend(tmp_path: Path) -> None:
    models = tmp_path / "models.toml"
    models.write_text('[[model]]\nname = "x"\nsource = { path = "a" }\nquantisation = "int8"\n')
    done = run_serve(MODELS_FILE=str(models))
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "line 4" in done.stderr
    assert "quantization" in done.stderr


@pytest.mark.parametrize("port", ["99999", "0", "http"])
def test_a_port_that_is_none_is_one_line(port: str) -> None:
    done = run_serve(PORT=port)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"PORT='{port}' is not a whole number from 1 to 65535. Set it to one, or unset it."
    ]


def test_a_host_that_is_not_ours_is_one_line() -> None:
    done = run_serve(HOST="192.0.2.1")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "192.0.2.1" in done.stderr


def test_a_data_dir_that_cannot_be_written_is_one_line() -> None:
    environment = Server().environment | {"DATA_DIR": "/proc/console"}
    done = run(environment)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "DATA_DIR=" in done.stderr


def test_a_model_that_cannot_be_loaded_leaves_the_site_up_and_says_why_in_ones_language(
    tmp_path: Path,
) -> None:
    server = Server(MODELS_FILE=str(models_file(tmp_path)))
    server.start()
    try:
        server.wait_ready("/healthz")
        ready = wait_for_failure(server)
        key = server.create_key("someone@example.com")
        headers = {"Authorization": f"Bearer {key}"}
        body = {"model": "gone", "prompt": "hi"}
        asked = requests.post(f"{server.url}/v1/completions", json=body, headers=headers, timeout=10)
        person = Person(server, "reader@example.com")
        page = person.http.get(
            f"{server.url}/console/models/", headers={"Accept-Language": "zh-CN"}, timeout=10
        )
        with person.socket(language="zh-CN") as socket:
            frame = str(socket.connection.recv(30))
    finally:
        server.stop()
    assert ready["models"][0]["state"] == "failed"
    assert "/nowhere/model" in ready["error"]["message"]
    assert asked.status_code == 503
    assert asked.json()["error"]["code"] == "model_not_ready"
    for told in (page.text, json.loads(frame)["models"][0]["reason"]):
        assert "gone：“/nowhere/model”中没有 config.json。" in told


def models_file(folder: Path) -> Path:
    """Of a model that fails to load, at once."""
    models = folder / "models.toml"
    models.write_text('[[model]]\nname = "gone"\nsource = { path = "/nowhere/model" }\n')
    return models


def wait_for_failure(server: Server) -> Any:
    for _ in range(300):
        response = requests.get(f"{server.url}/readyz", timeout=10)
        assert response.status_code == 503
        body = response.json()
        if body["models"] and body["models"][0]["state"] == "failed":
            return body
        time.sleep(0.2)
    raise AssertionError("the model did not fail")


@pytest.mark.parametrize("name", ["uvicorn", "daphne"])
def test_a_stop_ends_streams_with_an_error_and_loses_no_usage(name: str) -> None:
    with Server(DATA_DIR=str(make_data_dir()), SERVER=name) as server:
        key = server.create_key("someone@example.com")
        body = {
            "model": "open-autoglm-7b",
            "prompt": "Once",
            "max_tokens": 8000,
            "ignore_eos": True,
            "stream": True,
        }
        headers = {"Authorization": f"Bearer {key}"}
        response = requests.post(
            f"{server.url}/v1/completions", json=body, headers=headers, stream=True, timeout=60
        )
        lines = response.iter_lines()
        first = next(lines)
        assert first.startswith(b"data: {")
        assert server.process is not None
        server.process.send_signal(signal.SIGTERM)
        last = [line for line in lines if line][-1]
        assert server.process.wait(20) == 0
    assert "error" in json.loads(last.removeprefix(b"data: "))
    [record] = find_records(server, response.headers["x-request-id"])
    assert record["status"] == 500
    assert record["completion_tokens"] >= 1


@pytest.mark.parametrize("name", ["uvicorn", "daphne"])
@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_server_stops_within_seconds(sign: signal.Signals, name: str, tmp_path: Path) -> None:
    server = Server(MODELS_FILE=str(models_file(tmp_path)), SERVER=name)
    server.start()
    server.wait_ready("/healthz")
    assert server.process is not None
    server.process.send_signal(sign)
    assert server.process.wait(10) == 0


def test_uvicorn_refuses_headers_without_end_in_openais_shape(tmp_path: Path) -> None:
    server = Server(MODELS_FILE=str(models_file(tmp_path)), SERVER="uvicorn")
    server.start()
    try:
        server.wait_ready("/healthz")
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
            connection.sendall(
                b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nx: " + b"y" * 200_000 + b"\r\n\r\n"
            )
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
    finally:
        server.stop()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400")
    assert json.loads(body)["error"]["type"] == "invalid_request_error"


def test_an_unknown_server_is_one_line_that_names_the_choices() -> None:
    done = run_serve(SERVER="nginx")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "SERVER='nginx' is not one of: daphne, uvicorn. Set it to one, or unset it."
    ]
