"""In every runner a sequence's answer depends on nothing but itself: not on what else is in the batch, not on
chunks, and not on what the cache has already."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from serving.engine.core import EngineConfig, GenerationRequest, ModelRunner, SequenceOutput
from serving.engine.cuda.runner import CudaRunner
from serving.engine.engine import Engine
from serving.engine.models_file import ModelSource, ModelSpec
from serving.engine.native.runner import NativeRunner
from serving.engine.sampling.params import SamplingParams
from serving.engine.transformers_runner import TransformersRunner
from tests.serving.engine.conftest import HERE

CONFIG = EngineConfig(max_model_len=256, kv_blocks=96, block_size=16, max_batch_size=6, prefill_chunk=64)
SPEC = ModelSpec("tiny", ModelSource("path", "somewhere"), dtype="float32", max_batch_size=6)
SYSTEM = [(13 * i) % 97 for i in range(50)]  # what all prompts begin with
PROMPTS = [SYSTEM + [(7 * i + length) % 97 for i in range(length)] for length in (1, 5, 20, 70)]
WAYS = {"greedy": {"temperature": 0.0}, "seeded": {"temperature": 1.0, "top_p": 0.95, "seed": 7}}


@pytest.fixture(scope="module", params=["general", "native int8", "native int4", "cuda"])
def runner(request: pytest.FixtureRequest, tiny_model: Any, tiny_folder: Path) -> ModelRunner:
    if request.param == "general":
        return TransformersRunner(copy.deepcopy(tiny_model).to(HERE), "tiny")
    if request.param == "cuda":
        return CudaRunner.from_pretrained(tiny_folder, SPEC, HERE)
    return NativeRunner.from_pretrained(tiny_folder, request.param.removeprefix("native "))


class Answers:
    """An engine, and what it answered."""

    def __init__(self, runner: ModelRunner, config: EngineConfig = CONFIG) -> None:
        self.tokens: dict[int, list[int]] = {}
        self._open: set[str] = set()
        self.engine = Engine(config, runner, self._receive)

    def _receive(self, outputs: list[SequenceOutput]) -> None:
        for output in outputs:
            assert output.error is None, output.error
            self.tokens[int(output.request_id)] += output.token_ids
            if output.finish_reason is not None:
                self._open.remove(output.request_id)

    def ask(self, numbers: range, way: dict[str, float]) -> None:
        """Submit these of PROMPTS at once, and wait for all."""
        for number in numbers:
            self.tokens[number] = []
            self._open.add(str(number))
            params = SamplingParams(max_tokens=12, **way)  # type: ignore[arg-type]
            self.engine.submit(GenerationRequest(str(number), tuple(PROMPTS[number]), params))
        while self._open:
            self.engine.step()


@pytest.fixture(scope="module", params=WAYS)
def way(request: pytest.FixtureRequest) -> dict[str, float]:
    return WAYS[request.param]


ALL = range(len(PROMPTS))


@pytest.fixture(scope="module")
def alone(runner: ModelRunner, way: dict[str, float]) -> dict[int, list[int]]:
    told: dict[int, list[int]] = {}
    for number in ALL:
        each = Answers(runner)
        each.ask(range(number, number + 1), way)
        told |= each.tokens
    assert len({token for tokens in told.values() for token in tokens}) > 5, "too dull to tell anything"
    return told


def test_whatever_else_is_computed_with_it_an_answer_is_the_same(
    runner: ModelRunner, way: dict[str, float], alone: dict[int, list[int]]
) -> None:
    together = Answers(runner)
    together.ask(ALL, way)
    assert together.tokens == alone, "in a batch"
    chunked = Answers(runner, replace(CONFIG, prefill_chunk=7))
    chunked.ask(ALL, way)
    assert chunked.tokens == alone, "in chunks"
    squeezed = Answers(runner, replace(CONFIG, kv_blocks=13))
    squeezed.ask(ALL, way)
    assert squeezed.engine.stats().preemptions_total > 0
    assert squeezed.tokens == alone, "after preemption"


def test_what_the_cache_has_already_changes_no_answer(
    runner: ModelRunner, way: dict[str, float], alone: dict[int, list[int]]
) -> None:
    cached = Answers(runner)
    for number in ALL:
        cached.ask(range(number, number + 1), way)
    stats = cached.engine.stats()
    assert stats.prefix_hits_total == len(PROMPTS) - 1
    assert stats.prefix_tokens_reused_total == 48 * (len(PROMPTS) - 1), "the beginning is computed once"
    assert cached.tokens == alone
