"""Embeddings from hidden states, in every runner and through the one step path."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from collections.abc import Sequence as Seq
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from serving.engine.core import EngineConfig, GenerationRequest, ModelRunner, Pooling, SequenceOutput
from serving.engine.cuda.runner import CudaRunner
from serving.engine.engine import Engine
from serving.engine.errors import ContextLengthExceeded, ModelLoadError
from serving.engine.loader import LoadedModel
from serving.engine.models_file import ModelSource, ModelSpec
from serving.engine.native.runner import NativeRunner
from serving.engine.pooling import pooling_of
from serving.engine.sampling.params import SamplingParams
from serving.engine.transformers_runner import TransformersRunner
from tests.serving.engine.fakes import House, continuation, hidden_of

CONFIG = EngineConfig(max_model_len=256, kv_blocks=64, block_size=16, max_batch_size=8, prefill_chunk=64)
SPEC = ModelSpec("tiny", ModelSource("path", "somewhere"), dtype="float32", max_batch_size=8)
PROMPTS = [[(7 * i + length) % 97 for i in range(length)] for length in (1, 3, 40, 150)]


@pytest.fixture(scope="module", params=["general", "native", "cuda"])
def runner(request: pytest.FixtureRequest, tiny_model: Any, tiny_folder: Path) -> ModelRunner:
    if request.param == "general":
        return TransformersRunner(copy.deepcopy(tiny_model), "tiny")
    if request.param == "native":
        return NativeRunner.from_pretrained(tiny_folder, "int8")
    return CudaRunner.from_pretrained(tiny_folder, SPEC, torch.device("cpu"))


class Asked:
    """An engine over ``runner``, and the last outputs of what was submitted."""

    def __init__(self, runner: ModelRunner, config: EngineConfig = CONFIG) -> None:
        self.last: dict[str, SequenceOutput] = {}
        self.tokens: list[int] = []
        self.open: set[str] = set()
        self.engine = Engine(config, runner, self.receive)

    def receive(self, outputs: list[SequenceOutput]) -> None:
        for output in outputs:
            assert output.error is None, output.error
            self.tokens += output.token_ids
            self.last[output.request_id] = output
            if output.finish_reason is not None:
                self.open.remove(output.request_id)

    def submit(self, name: str, prompt: Seq[int], pooling: Pooling | None = "mean", **params: Any) -> None:
        wanted = SamplingParams(**{"temperature": 0.0, **params})
        self.open.add(name)
        self.engine.submit(GenerationRequest(name, tuple(prompt), wanted, pooling=pooling))

    def run(self) -> None:
        while self.open:
            self.engine.step()
            self.engine.check_integrity()

    def vector(self, name: str) -> np.ndarray[Any, Any]:
        embedding = self.last[name].embedding
        assert embedding is not None
        return embedding


def embed(
    runner: ModelRunner, prompts: Seq[Seq[int]], config: EngineConfig = CONFIG, pooling: Pooling = "mean"
) -> np.ndarray[Any, Any]:
    """(prompts, hidden), submitted at once."""
    asked = Asked(runner, config)
    for index, prompt in enumerate(prompts):
        asked.submit(str(index), prompt, pooling)
    asked.run()
    return np.stack([asked.vector(str(index)) for index in range(len(prompts))])


def expected_of(model: Any, prompt: Seq[int], pooling: Pooling = "mean") -> np.ndarray[Any, Any]:
    """As transformers' hidden states have it."""
    with torch.inference_mode():
        states = model.base_model(torch.tensor([list(prompt)])).last_hidden_state[0].float().numpy()
    pooled = states.mean(axis=0) if pooling == "mean" else states[-1]
    unit: np.ndarray[Any, Any] = pooled / np.linalg.norm(pooled)
    return unit


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_they_are_the_pooled_hidden_states_of_transformers(
    runner: ModelRunner, tiny_model: Any, pooling: Pooling
) -> None:
    vectors = embed(runner, PROMPTS, pooling=pooling)
    expected = np.stack([expected_of(tiny_model, prompt, pooling) for prompt in PROMPTS])
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(len(PROMPTS)), abs=1e-6)
    tolerance = 0.05 if isinstance(runner, NativeRunner) else 1e-4  # int8 weights and activations
    assert np.linalg.norm(vectors - expected, axis=1).max() < tolerance


def test_one_is_the_same_alone_in_a_batch_in_chunks_and_beside_answers(runner: ModelRunner) -> None:
    alone = np.concatenate([embed(runner, [prompt]) for prompt in PROMPTS])
    assert embed(runner, PROMPTS) == pytest.approx(alone, abs=1e-6)
    assert embed(runner, PROMPTS, replace(CONFIG, prefill_chunk=7)) == pytest.approx(alone, abs=1e-6)
    asked = Asked(runner)
    asked.submit("answer", PROMPTS[2], None, max_tokens=20)
    asked.engine.step()
    for index, prompt in enumerate(PROMPTS):
        asked.submit(str(index), prompt)
    asked.run()
    beside = [asked.vector(str(index)) for index in range(len(PROMPTS))]
    assert np.stack(beside) == pytest.approx(alone, abs=1e-6)
    answered = asked.tokens
    asked = Asked(runner)
    asked.submit("answer", PROMPTS[2], None, max_tokens=20)
    asked.run()
    assert asked.tokens == answered, "and the answer is what it is without them"


def test_a_cached_beginning_takes_nothing_from_a_mean_and_saves_work_for_a_last_state(
    runner: ModelRunner,
) -> None:
    asked = Asked(runner)
    asked.submit("answer", PROMPTS[3], None, max_tokens=1)
    asked.run()
    asked.submit("mean", PROMPTS[3])
    asked.run()
    assert asked.vector("mean") == pytest.approx(embed(runner, PROMPTS[3:])[0], abs=1e-6)
    before = asked.engine.stats()
    asked.submit("last", PROMPTS[3], "last")
    asked.run()
    assert asked.vector("last") == pytest.approx(embed(runner, PROMPTS[3:], pooling="last")[0], abs=1e-6)
    assert asked.engine.stats().tokens_computed_total - before.tokens_computed_total < 16


def test_those_of_the_default_model_are_close_to_float32(
    exact_model: LoadedModel, native_runner: Callable[[str], NativeRunner]
) -> None:
    texts = ["A dog barks in the garden.", "A puppy is barking outside.", "The central bank raised its rate."]
    prompts = [exact_model.tokenizer.encode(text) for text in texts]
    exact = embed(exact_model.runner, prompts)
    assert (embed(native_runner("int4"), prompts) * exact).sum(axis=1).min() > 0.99
    dog_puppy, dog_bank = exact[0] @ exact[1], exact[0] @ exact[2]
    assert dog_puppy > dog_bank + 0.05, "and what means the same lies closer"


def test_one_ends_with_its_prompt_and_makes_no_token() -> None:
    house = House(prefill_chunk=8)
    house.submit("text", tuple(range(20)), pooling="mean")
    house.steps(2)
    assert house.outputs["text"] == []
    house.steps(1)
    last = house.last("text")
    assert (last.finish_reason, last.prompt_tokens, last.completion_tokens) == ("stop", 20, 0)
    assert last.embedding == pytest.approx(hidden_of(range(20)))
    stats = house.engine.stats()
    assert (stats.kv_blocks_used, stats.tokens_generated_total, stats.tokens_computed_total) == (0, 0, 20)


def test_one_may_be_as_long_as_the_context_and_no_longer() -> None:
    house = House()
    house.submit("all", tuple(range(100)), pooling="mean")
    with pytest.raises(ContextLengthExceeded, match="100 tokens, but 101 of prompt and 0 of completion"):
        house.submit("more", tuple(range(101)), pooling="mean")


def test_a_caller_who_leaves_frees_its_blocks_within_one_step() -> None:
    house = House()
    house.submit("text", tuple(range(40)), pooling="mean")
    house.steps(2)
    house.engine.abort("text")
    house.steps(1)
    assert house.last("text").finish_reason == "abort"
    assert house.engine.stats().kv_blocks_used == 0


def test_one_that_was_preempted_counts_no_token_twice() -> None:
    house = House(kv_blocks=12, prefill_chunk=4)
    house.submit("answer", (1, 2, 3), max_tokens=20)
    house.steps(1)
    house.submit("text", tuple(range(40)), pooling="mean")
    house.steps(60)
    assert house.engine.stats().preemptions_total > 0
    assert house.last("text").embedding == pytest.approx(hidden_of(range(40)))
    assert house.tokens("answer") == continuation((1, 2, 3), 20)


def test_hidden_states_that_are_no_numbers_are_an_error() -> None:
    house = House()
    house.runner.hidden_factor = float("nan")
    house.submit("text", pooling="mean")
    house.steps(1)
    assert house.last("text").finish_reason == "error"
    assert "not numbers" in (house.last("text").error or "")


@pytest.mark.parametrize(
    ("declared", "pooling"),
    [
        (None, "mean"),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_lasttoken": False}, "mean"),
        ({"pooling_mode_mean_tokens": False, "pooling_mode_lasttoken": True}, "last"),
    ],
)
def test_a_model_made_for_embeddings_says_how_it_pools(
    declared: dict[str, bool] | None, pooling: Pooling, tmp_path: Path
) -> None:
    declare(tmp_path, declared)
    assert pooling_of(tmp_path) == pooling


def test_a_way_of_pooling_that_there_is_not_here_is_refused(tmp_path: Path) -> None:
    declare(tmp_path, {"pooling_mode_cls_token": True})
    with pytest.raises(ModelLoadError, match="neither the mean nor the last token"):
        pooling_of(tmp_path)


def declare(folder: Path, declared: dict[str, bool] | None) -> None:
    if declared is not None:
        (folder / "1_Pooling").mkdir()
        (folder / "1_Pooling" / "config.json").write_text(json.dumps(declared))
