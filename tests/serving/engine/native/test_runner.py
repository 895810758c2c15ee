"""The native runner on the default model, and on small random ones of every family."""

from __future__ import annotations

import dataclasses
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    LlamaConfig,
    MistralConfig,
    PretrainedConfig,
    Qwen2Config,
    Qwen3Config,
)

from serving.engine.core import BatchItem, GenerationRequest, Sequence
from serving.engine.errors import EngineError
from serving.engine.models_file import ModelSpec
from serving.engine.native.quantize import CheckpointError
from serving.engine.native.runner import NativeRunner, usable_cores
from serving.engine.sampling.params import SamplingParams
from serving.engine.sampling.sampler import Sampler, SamplingRow
from tests import forked

pytestmark = pytest.mark.slow

GREEDY = SamplingParams(max_tokens=8, temperature=0)
BLOCKS = 512
BLOCK_SIZE = 16


@pytest.fixture(scope="module", params=["int8", "int4"])
def runner(request: pytest.FixtureRequest, native_runner: Callable[[str], NativeRunner]) -> NativeRunner:
    runner = native_runner(request.param)
    runner.allocate(BLOCKS, BLOCK_SIZE)
    return runner


def prompt(length: int, start: int = 0) -> list[int]:
    return [(start + i) * 7919 % 49_000 + 3 for i in range(length)]


def sequence(ids: list[int], blocks: range, params: SamplingParams = GREEDY, seed: int = 0) -> Sequence:
    made = Sequence(GenerationRequest("", tuple(ids), params), seed, list(ids))
    made.block_table = list(blocks)
    return made


def prefill(runner: NativeRunner, made: Sequence, chunk: int) -> None:
    """Compute the prompt in chunks; append the first token."""
    ids = made.token_ids
    for start in range(0, len(ids), chunk):
        length = min(chunk, len(ids) - start)
        sampled = runner.run([BatchItem(made, start, length, start + length == len(ids))]).token_ids
    made.token_ids.extend(sampled)


def decode(runner: NativeRunner, batch: list[Sequence], steps: int) -> None:
    for _ in range(steps):
        items = [BatchItem(made, len(made.token_ids) - 1, 1, True) for made in batch]
        for made, token in zip(batch, runner.run(items).token_ids, strict=True):
            made.token_ids.append(token)


def alone(runner: NativeRunner, ids: list[int], steps: int) -> list[int]:
    made = sequence(ids, range(300, 400))
    prefill(runner, made, 10_000)
    decode(runner, [made], steps)
    return made.token_ids


@pytest.mark.parametrize("chunk", [1, 5, 16, 63])
def test_a_prompt_in_chunks_gives_the_tokens_of_the_whole(runner: NativeRunner, chunk: int) -> None:
    made = sequence(prompt(70), range(40))
    prefill(runner, made, chunk)
    decode(runner, [made], 8)
    assert made.token_ids == alone(runner, prompt(70), 8)


def test_a_sequence_gives_the_same_tokens_in_any_batch(runner: NativeRunner) -> None:
    lengths = (3, 15, 16, 17, 64, 65, 130)
    batch = [sequence(prompt(n, n), range(20 * i, 20 * i + 20)) for i, n in enumerate(lengths)]
    for made in batch:
        prefill(runner, made, 10_000)
    decode(runner, batch[:5], 4)
    decode(runner, batch, 4)
    decode(runner, batch[2:], 4)
    for made in batch:
        assert made.token_ids == alone(runner, prompt(made.num_prompt, made.num_prompt), made.num_output - 1)


def test_prompts_and_decoding_share_a_step(runner: NativeRunner) -> None:
    old, new = sequence(prompt(40), range(10)), sequence(prompt(90, 5), range(10, 20))
    prefill(runner, old, 10_000)
    sampled = runner.run([BatchItem(old, 40, 1, True), BatchItem(new, 0, 50, False)]).token_ids
    assert sampled == alone(runner, prompt(40), 1)[-1:]
    assert runner.run([BatchItem(new, 50, 40, True)]).token_ids == alone(runner, prompt(90, 5), 0)[-1:]


def test_blocks_may_lie_in_any_order(runner: NativeRunner) -> None:
    made = sequence(prompt(200), range(0))
    made.block_table = [17, 3, 400, 5, 90, 2, 1, 64, 33, 250, 18, 4, 9, 80]
    prefill(runner, made, 48)
    decode(runner, [made], 8)
    assert made.token_ids == alone(runner, prompt(200), 8)


@pytest.mark.parametrize("threads", [1, 3])
def test_the_number_of_threads_changes_nothing(
    model_folder: Path, runner: NativeRunner, threads: int
) -> None:
    kind = "int4" if runner.weight_bytes() < 110e6 else "int8"
    other = NativeRunner.from_pretrained(model_folder, kind, threads=threads)
    other.allocate(BLOCKS, BLOCK_SIZE)
    assert alone(other, prompt(30), 8) == alone(runner, prompt(30), 8)
    other.close()


def test_threads_that_find_no_core_cost_little_and_change_nothing(
    model_folder: Path, native_runner: Callable[[str], NativeRunner]
) -> None:
    usual, crowd = (
        native_runner("int4"),
        NativeRunner.from_pretrained(model_folder, "int4", threads=8 * usable_cores()),
    )
    seconds = []
    tokens = []
    for each in (usual, crowd):
        each.allocate(BLOCKS, BLOCK_SIZE)
        alone(each, prompt(30), 2)
        started = time.monotonic()
        tokens.append(alone(each, prompt(30), 24))
        seconds.append(time.monotonic() - started)
    crowd.close()
    assert tokens[0] == tokens[1]
    assert seconds[1] < 3 * seconds[0]


def test_logits_stay_close_to_float32(runner: NativeRunner, reference_model: Any) -> None:
    ids = prompt(100)
    with torch.inference_mode():
        expected = reference_model(torch.tensor([ids])).logits[0].numpy()
    logits = runner.logits(BatchItem(sequence(ids, range(10)), 0, 100, False))
    assert np.corrcoef(logits.ravel(), expected.ravel())[0, 1] > 0.98


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"),
    [
        (1.0, 0, 1.0),
        (0.7, 0, 0.9),
        (1.3, 5, 1.0),
        (2.0, 40, 0.5),
        (0.01, 0, 1.0),
        (1.0, 1, 1.0),
        (5.0, 0, 0.999),
    ],
)
def test_sampling_draws_what_the_general_sampler_draws(
    runner: NativeRunner, temperature: float, top_k: int, top_p: float
) -> None:
    ids = prompt(20)
    params = SamplingParams(temperature=temperature, top_p=top_p, top_k=top_k)
    logits = runner.logits(BatchItem(sequence(ids, range(4)), 0, 20, False))[-1:]
    for seed in (0, 1, 2**64 - 1, 987_654_321, *range(50, 70)):
        item = BatchItem(sequence(ids, range(4), params, seed), 0, 20, True)
        assert runner.run([item]).token_ids == Sampler()(torch.from_numpy(logits), [SamplingRow.of(item)])


def test_a_step_is_one_call_into_c_whatever_is_in_it(
    runner: NativeRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    library = runner._library

    class Counted:
        def __getattr__(self, name: str) -> Callable[..., object]:
            calls.append(name)
            function: Callable[..., object] = getattr(library, name)
            return function

    monkeypatch.setattr(runner, "_library", Counted())
    warm = SamplingParams(temperature=1, top_p=0.9, logprobs=5, presence_penalty=1)
    batch = [sequence(prompt(5), range(2)), sequence(prompt(7), range(2, 4), warm)]
    runner.run([BatchItem(made, 0, len(made.token_ids), True) for made in batch])
    assert calls == ["runner_run"]


def test_a_step_lets_other_python_threads_run(runner: NativeRunner) -> None:
    counted, stop = [0], threading.Event()

    def count() -> None:
        while not stop.is_set():
            counted[0] += 1
            time.sleep(0.001)

    made = sequence(prompt(600), range(40))
    other = threading.Thread(target=count, daemon=True)
    other.start()
    before, started = counted[0], time.monotonic()
    runner.run([BatchItem(made, 0, 600, True)])
    during, seconds = counted[0] - before, time.monotonic() - started
    stop.set()
    assert during > seconds * 20


def test_an_idle_runner_uses_no_processor(runner: NativeRunner) -> None:
    alone(runner, prompt(4), 2)
    time.sleep(0.05)
    before = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - before < 0.05


@pytest.mark.parametrize(("kind", "bits"), [("int8", 8), ("int4", 5.6)])
def test_weights_are_held_once(model_folder: Path, kind: str, bits: float) -> None:
    command = [str(Path(__file__).with_name("memory.py")), str(model_folder), kind]
    weights, added, peak = map(int, forked.run(command, os.environ).stdout.split())
    assert weights == pytest.approx(134.5e6 * bits / 8, rel=0.03)
    assert added < 1.5 * weights
    assert peak < 1.5 * weights


def test_a_block_size_that_tiles_do_not_fill_is_refused(runner: NativeRunner) -> None:
    with pytest.raises(EngineError, match="multiple of 16"):
        runner.allocate(4, 24)


def test_the_plain_c_code_agrees_with_the_special_instructions(runner: NativeRunner, tmp_path: Path) -> None:
    save_random(tmp_path, LlamaConfig(**SMALL))
    kind = "int4" if runner.weight_bytes() < 110e6 else "int8"
    plain = NativeRunner.from_pretrained(tmp_path, kind, processor="baseline")
    special = NativeRunner.from_pretrained(tmp_path, kind)
    results = []
    for each in (plain, special):
        each.allocate(8, BLOCK_SIZE)
        item = BatchItem(sequence([i % 90 for i in range(100)], range(8)), 0, 100, False)
        results.append(each.logits(item))
        each.close()
    assert np.abs(results[0] - results[1]).max() < 0.02 * np.abs(results[1]).max()


SMALL = {
    "hidden_size": 128,
    "intermediate_size": 192,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "vocab_size": 100,
    "max_position_embeddings": 256,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": None,
}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
FAMILIES: dict[str, Callable[[], PretrainedConfig]] = {
    "llama": lambda: LlamaConfig(**SMALL, tie_word_embeddings=False),
    "llama-3": lambda: LlamaConfig(**SMALL, rope_parameters=LLAMA3_ROPE, tie_word_embeddings=True),
    "mistral": lambda: MistralConfig(**SMALL, sliding_window=None, tie_word_embeddings=False),
    "qwen2": lambda: Qwen2Config(**SMALL),
    "qwen3": lambda: Qwen3Config(**SMALL | {"head_dim": 48, "num_attention_heads": 8}),
    "one-kv-head": lambda: LlamaConfig(
        **SMALL | {"num_attention_heads": 32, "num_key_value_heads": 1, "head_dim": 16}
    ),
}


def save_random(folder: Path, config: PretrainedConfig) -> torch.nn.Module:
    """A model of ``config`` in which every weight matters, biases and norms too."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(1.0 if "norm" in name else 0.0, 0.3 if parameter.dim() == 1 else 0.06)
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_agrees_with_transformers(family: str, tmp_path: Path) -> None:
    model = save_random(tmp_path, FAMILIES[family]())
    spec = dataclasses.replace(SPEC, quantization="int8")
    assert NativeRunner.supports(AutoConfig.from_pretrained(tmp_path), spec)[0]
    runner = NativeRunner.from_pretrained(tmp_path, "int8")
    runner.allocate(16, BLOCK_SIZE)
    ids = [i * 37 % 98 for i in range(150)]
    with torch.inference_mode():
        expected = model(torch.tensor([ids])).logits[0].numpy()
    made = sequence(ids, range(16))
    logits = np.concatenate([runner.logits(BatchItem(made, at, 50, False)) for at in (0, 50, 100)])
    runner.close()
    error = np.linalg.norm(logits - expected, axis=1) / np.linalg.norm(expected, axis=1)
    assert error.mean() < 0.05
    assert error[-50:].mean() < 0.05


SPEC = ModelSpec("m", source=None, quantization="int4")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("config", "spec", "reason"),
    [
        (LlamaConfig(**SMALL), dataclasses.replace(SPEC, quantization="none"), "quantization none"),
        (LlamaConfig(**SMALL), dataclasses.replace(SPEC, device_map="cuda:0"), "not a CPU"),
        (AutoConfig.for_model("gpt2"), SPEC, "gpt2 is not one of"),
        (LlamaConfig(**SMALL | {"hidden_size": 120}), SPEC, "multiples of 64"),
        (LlamaConfig(**SMALL | {"head_dim": 20, "num_attention_heads": 16}), SPEC, "head dimension 20"),
        (MistralConfig(**SMALL, sliding_window=32), SPEC, "sliding window"),
        (LlamaConfig(**SMALL, hidden_act="gelu"), SPEC, "activation gelu"),
        (
            LlamaConfig(**SMALL, rope_parameters={"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}),
            SPEC,
            "rotary",
        ),
    ],
)
def test_what_it_cannot_run_is_refused_with_the_reason(
    config: PretrainedConfig, spec: ModelSpec, reason: str
) -> None:
    supported, why = NativeRunner.supports(config, spec)
    assert not supported
    assert reason in why


def test_missing_weights_are_named(tmp_path: Path) -> None:
    save_random(tmp_path, LlamaConfig(**SMALL, tie_word_embeddings=True))
    config = LlamaConfig(**SMALL | {"num_hidden_layers": 3}, tie_word_embeddings=True)
    config.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"model\.layers\.2"):
        NativeRunner.from_pretrained(tmp_path, "int8")


def test_cores_are_at_least_one_and_at_most_the_affinity() -> None:
    assert 1 <= usable_cores() <= len(os.sched_getaffinity(0))
