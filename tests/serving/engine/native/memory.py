"""Run as a program, with a model's folder and a kind of weights: loads them, and says how many bytes they
have, how many more the process has than before, and how many more it had at most."""

from __future__ import annotations

import sys
from pathlib import Path

from transformers import AutoConfig, GenerationConfig

from serving.engine.native.runner import NativeRunner


def memory(which: str) -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split(which + ":")[1].split()[0]) * 1024


def main(folder: str, kind: str) -> None:
    # What transformers and torch import on the way is not the model's.
    AutoConfig.from_pretrained(folder), GenerationConfig.from_pretrained(folder)
    before = memory("VmRSS")
    runner = NativeRunner.from_pretrained(Path(folder), kind)
    added, peak = memory("VmRSS") - before, memory("VmHWM") - before
    sys.stdout.write(f"{runner.weight_bytes()} {added} {peak}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
