"""What every benchmark writes: rows, the machine and the commit, as JSON."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def write_result(question: str, rows: list[dict[str, Any]]) -> Path:
    """``benchmarks/results/<question>.json``."""
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{question}.json"
    document = {"rows": rows, "machine": machine(), "commit": commit()}
    file.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return file


def machine() -> dict[str, Any]:
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": platform.platform(),
        "load_average": os.getloadavg()[0],
    }


def _processor() -> str:
    """Clouds sell processors without a name, so family and model come along."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    facts = dict(reversed([[part.strip() for part in line.split(":", 1)] for line in lines if ":" in line]))
    wanted = ("model name", "cpu family", "model")
    return ", ".join(f"{key} {facts[key]}" for key in wanted if key in facts)


def commit() -> str:
    run = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return run.stdout.strip()


def show_progress(done: int, total: int, what: str) -> None:
    filled = 30 * done // total
    print(f"\r[{'#' * filled}{'.' * (30 - filled)}] {what:50}", end="", file=sys.stderr, flush=True)
