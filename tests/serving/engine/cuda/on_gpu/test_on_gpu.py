"""A model's weights on a real GPU, as models.toml may ask for them."""

from __future__ import annotations

import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig

from serving.engine.core import ModelRunner
from serving.engine.cuda.runner import CudaRunner
from serving.engine.transformers_runner import load_transformers_runner
from tests.serving.engine.conftest import CUDA
from tests.serving.engine.cuda.test_runner import CONFIG, HALF, logprobs


@pytest.fixture(scope="module")
def exact(tiny_folder: Path, tiny_prompts: list[list[int]]) -> list[float]:
    """The log-probability of each token of the prompts, in float32 on the processor."""
    spec = replace(HALF, dtype="float32", device_map="cpu")
    return prompt_logprobs(load_transformers_runner(tiny_folder, spec), tiny_prompts)


def prompt_logprobs(runner: ModelRunner, prompts: list[list[int]]) -> list[float]:
    told = [logprobs(runner, [prompt], CONFIG)[: len(prompt) - 1] for prompt in prompts]
    return [place[0][1] for places in told for place in places]


def strays(runner: ModelRunner, prompts: list[list[int]], exact: list[float]) -> float:
    """How far its log-probabilities are from the exact ones, in the mean."""
    ours = prompt_logprobs(runner, prompts)
    return statistics.fmean(abs(mine - true) for mine, true in zip(ours, exact, strict=True))


@pytest.mark.parametrize(("quantization", "at_most"), [("none", 0.05), ("int8", 0.2), ("int4", 0.9)])
def test_the_fast_runner_stays_near_the_exact_model(
    quantization: Any, at_most: float, tiny_folder: Path, tiny_prompts: list[list[int]], exact: list[float]
) -> None:
    spec = replace(HALF, quantization=quantization)
    assert CudaRunner.supports(AutoConfig.from_pretrained(tiny_folder), spec, CUDA) is None
    runner = CudaRunner.from_pretrained(tiny_folder, spec, CUDA)
    assert strays(runner, tiny_prompts, exact) < at_most


@pytest.mark.parametrize(("quantization", "at_most"), [("none", 0.05), ("int8", 0.3), ("int4", 1.2)])
@pytest.mark.parametrize("device_map", ["auto", "cuda:0"])
def test_accelerate_places_the_weights_and_bitsandbytes_quantizes_them(
    quantization: Any, at_most: float, device_map: str, tiny_folder: Path, tiny_prompts: list[list[int]],
    exact: list[float],
) -> None:  # fmt: skip
    spec = replace(HALF, quantization=quantization, device_map=device_map)
    runner = load_transformers_runner(tiny_folder, spec)
    assert all(weights.is_cuda for weights in runner._model.parameters())
    assert strays(runner, tiny_prompts, exact) < at_most
