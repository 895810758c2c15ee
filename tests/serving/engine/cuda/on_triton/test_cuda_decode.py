"""Whole answers through the kernels, on a GPU from CUDA graphs; and the kernels through the compiler for real
GPUs."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import MistralConfig, PretrainedConfig, Qwen2Config, Qwen3Config

from serving.engine.cuda import fused, llama_attention
from serving.engine.cuda.llama import RandomTensors
from serving.engine.cuda.runner import CudaRunner
from tests.serving.engine.conftest import CPU, HERE
from tests.serving.engine.cuda.test_runner import CONFIG, SIZES, SPEC
from tests.serving.engine.test_transformers_runner import generate


class VividTensors(RandomTensors):
    """Weights large enough that a small mistake changes the answer, the same ones on every device."""

    def __init__(self, device: torch.device) -> None:
        super().__init__(torch.float32, CPU)
        self._goes_to = device

    def get(self, name: str, *size: int) -> torch.Tensor:
        weights = super().get(name, *size) * (1 if name.endswith("norm.weight") else 15)
        return weights.to(self._goes_to)


@pytest.mark.parametrize(
    ("config", "quantization"),
    [
        (Qwen2Config(**SIZES), "int4"),
        (Qwen3Config(**SIZES, head_dim=32), "none"),
        (MistralConfig(**SIZES, sliding_window=8), "int8"),
    ],
)
def test_answers_through_the_kernels_are_those_of_plain_torch(
    config: PretrainedConfig, quantization: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = replace(SPEC, quantization=quantization)
    prompts = [[(7 * i + length) % 97 for i in range(length)] for length in (3, 21)]
    expected = answers(CudaRunner(config, spec, VividTensors(CPU), CPU), prompts)
    assert len({token for answer in expected[1] for token in answer}) > 3, "too dull a model to tell anything"
    if HERE == CPU:
        interpret_kernels(monkeypatch)
    assert answers(CudaRunner(config, spec, VividTensors(HERE), HERE), prompts) == expected


def answers(runner: CudaRunner, prompts: list[list[int]]) -> list[list[list[int]]]:
    """One prompt alone, then all at once."""
    return [generate(runner, asked, 4, CONFIG) for asked in (prompts[:1], prompts)]


def interpret_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (fused, llama_attention):
        monkeypatch.setattr(module, "runs_triton", lambda x: True)
    processors = SimpleNamespace(multi_processor_count=4)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: processors)


def test_every_launch_compiles_for_ampere_and_hopper_with_its_registers() -> None:
    script = Path(__file__).with_name("compile_kernels.py")
    command = [sys.executable, "-m", "tests.serving.engine.cuda.on_triton." + script.stem]
    environment = {"PATH": "", "PYTHONPATH": str(Path(__file__).parents[5])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    spilled = [int(line.rpartition(" ")[2]) for line in done.stdout.splitlines()]
    assert len(spilled) > 40
    assert max(spilled) <= 32, "bytes of a thread, in a kernel or two"
