"""The GPU runner, on a GPU where there is one. Elsewhere its logic: the same code without Triton and CUDA
graphs, whose parts have tests of their own in on_triton/."""

from __future__ import annotations

import copy
from collections.abc import Sequence as Seq
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    LlamaConfig,
    MistralConfig,
    PretrainedConfig,
    Qwen2Config,
    Qwen3Config,
)

from serving.engine import loader
from serving.engine.core import EngineConfig, GenerationRequest
from serving.engine.cuda.graphs import DecodeOutput, Replay
from serving.engine.cuda.llama import RandomTensors, SafeTensors
from serving.engine.cuda.runner import CudaRunner
from serving.engine.engine import Engine
from serving.engine.errors import DeviceFailed, ModelLoadError
from serving.engine.models_file import ModelSource, ModelSpec
from serving.engine.sampling.params import SamplingParams
from serving.engine.transformers_runner import TransformersRunner
from tests.serving.engine.conftest import CPU, CUDA, HERE, greedy_by_transformers
from tests.serving.engine.test_transformers_runner import generate

CONFIG = EngineConfig(max_model_len=512, kv_blocks=64, block_size=16, max_batch_size=6, prefill_chunk=64)
SPEC = ModelSpec(
    "gpu", ModelSource("path", "somewhere"), dtype="float32", max_batch_size=6, max_model_len=512
)

SIZES = {
    "vocab_size": 97, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256,
    "eos_token_id": None, "bos_token_id": None, "pad_token_id": 0,
}  # fmt: skip
LLAMA3_ROPE = {
    "rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0,
    "high_freq_factor": 4.0, "original_max_position_embeddings": 32,
}  # fmt: skip
YARN = {"rope_type": "yarn", "rope_theta": 500.0, "factor": 4.0, "original_max_position_embeddings": 64}
TINY_MODELS = {
    "llama: an untied head, stretched positions": LlamaConfig(**SIZES, rope_parameters=LLAMA3_ROPE),
    "llama: tied, as many key heads as query heads": LlamaConfig(
        **SIZES | {"num_key_value_heads": 4}, tie_word_embeddings=True
    ),
    "qwen2: biases, yarn": Qwen2Config(**SIZES, rope_parameters=YARN),
    "qwen2: the upper layers see the last 8 tokens": Qwen2Config(
        **SIZES, use_sliding_window=True, sliding_window=8, max_window_layers=1
    ),
    "qwen3: norms over heads, a head dimension of its own": Qwen3Config(**SIZES, head_dim=32),
    "mistral: every layer sees the last 8 tokens": MistralConfig(**SIZES, sliding_window=8),
}


def runner_of(config: PretrainedConfig, folder: Path, **changes: Any) -> CudaRunner:
    spec = replace(SPEC, **changes)
    with SafeTensors(folder, getattr(torch, spec.dtype), HERE) as tensors:
        return CudaRunner(config, spec, tensors, HERE)


@pytest.fixture(scope="module")
def runner(tiny_folder: Path) -> CudaRunner:
    return CudaRunner.from_pretrained(tiny_folder, SPEC, HERE)


def test_the_real_model_answers_as_under_transformers_generate(
    model_folder: Path, prompts: list[list[int]], expected: list[list[int]]
) -> None:
    assert generate(CudaRunner.from_pretrained(model_folder, SPEC, HERE), prompts, 16, CONFIG) == expected


def test_a_padded_batch_answers_as_each_alone(
    runner: CudaRunner, tiny_prompts: list[list[int]], tiny_answers: list[list[int]]
) -> None:
    assert generate(runner, tiny_prompts[:3], 16, CONFIG) == tiny_answers[:3], "3 rows in a step for 4"
    assert generate(runner, tiny_prompts * 2, 16, CONFIG) == tiny_answers * 2, "8 requests in steps for 6"


def test_prompts_in_chunks_beside_decoding_answer_the_same(
    runner: CudaRunner, tiny_prompts: list[list[int]], tiny_answers: list[list[int]]
) -> None:
    assert generate(runner, tiny_prompts, 16, replace(CONFIG, prefill_chunk=7)) == tiny_answers
    assert generate(runner, tiny_prompts[:1], 16, replace(CONFIG, prefill_chunk=1)) == tiny_answers[:1]


def test_a_cache_so_small_that_sequences_are_preempted_answers_the_same(
    runner: CudaRunner, tiny_prompts: list[list[int]], tiny_answers: list[list[int]]
) -> None:
    small = replace(CONFIG, kv_blocks=24, block_size=4)
    assert generate(runner, tiny_prompts[2:], 16, small) == tiny_answers[2:]


@pytest.mark.parametrize("name", TINY_MODELS)
def test_every_family_answers_as_under_transformers_generate(name: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    config = TINY_MODELS[name]
    model = AutoModelForCausalLM.from_config(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    save_random(model, tmp_path)
    prompts = [[(7 * i + length) % 97 for i in range(length)] for length in (3, 21, 40, 90)]
    expected = [greedy_by_transformers(model, prompt, 20) for prompt in prompts]
    assert len({token for answer in expected for token in answer}) > 5, "too dull a model to tell anything"
    tiny = runner_of(config, tmp_path)
    small_blocks = replace(CONFIG, prefill_chunk=10, block_size=4)
    assert generate(tiny, prompts, 20, small_blocks) == expected


def save_random(model: Any, folder: Path) -> None:
    tied = model.config.tie_word_embeddings
    state = {k: v.contiguous() for k, v in model.state_dict().items() if not (tied and k == "lm_head.weight")}
    save_file(state, folder / "model.safetensors")


def test_a_seed_gives_the_same_answer_alone_and_in_a_batch_and_as_the_general_runner(
    runner: CudaRunner, tiny_model: Any, tiny_prompts: list[list[int]]
) -> None:
    warm = {"temperature": 0.9, "top_p": 0.95, "top_k": 50, "seed": 42}
    alone = generate(runner, tiny_prompts[:1], 16, CONFIG, **warm)
    assert generate(runner, tiny_prompts, 16, CONFIG, **warm)[:1] == alone
    general = TransformersRunner(copy.deepcopy(tiny_model), "tiny")
    assert generate(general, tiny_prompts[:1], 16, CONFIG, **warm) == alone
    assert generate(runner, tiny_prompts[:1], 16, CONFIG, **warm | {"seed": 43}) != alone


def test_logprobs_of_prompt_and_answer_are_those_of_the_general_runner(
    runner: CudaRunner, tiny_model: Any, tiny_prompts: list[list[int]]
) -> None:
    general = TransformersRunner(copy.deepcopy(tiny_model), "tiny")
    config = replace(CONFIG, prefill_chunk=8)
    own, other = (logprobs(each, tiny_prompts[:2], config) for each in (runner, general))
    assert len(own) > 2 * 8
    assert [[token for token, _ in place] for place in own] == [
        [token for token, _ in place] for place in other
    ]
    for mine, theirs in zip(own, other, strict=True):
        assert [value for _, value in mine] == pytest.approx([value for _, value in theirs], abs=1e-3)


def logprobs(runner: Any, prompts: Seq[Seq[int]], config: EngineConfig) -> list[list[tuple[int, float]]]:
    """For each token of prompts and answers its logprob and the two best, sequences one after the other."""
    told: dict[str, list[Any]] = {str(index): [] for index in range(len(prompts))}
    running = set(told)

    def receive(outputs: Any) -> None:
        for output in outputs:
            told[output.request_id] += [*(output.prompt_logprobs or ()), *(output.logprobs or ())]
            if output.finish_reason is not None:
                running.remove(output.request_id)

    engine = Engine(config, runner, receive)
    params = SamplingParams(max_tokens=8, temperature=0, logprobs=2, prompt_logprobs=2)
    for name, prompt in zip(told, prompts, strict=True):
        engine.submit(GenerationRequest(name, tuple(prompt), params))
    while running:
        engine.step()
    return [[(place.token_id, place.logprob), *place.top] for places in told.values() for place in places]


class RecordedReplays:
    """Records and replays as CUDA graphs do: what a step reads and writes stays where it was."""

    def __init__(self) -> None:
        self.replays: list[int] = []

    def __call__(self, step: Replay) -> Replay:
        recorded = step()
        rows = len(recorded.tokens)

        def replay() -> DecodeOutput:
            fresh = step()
            recorded.logits.copy_(fresh.logits)
            recorded.tokens.copy_(fresh.tokens)
            self.replays.append(rows)
            return recorded

        return replay


def test_steps_are_replayed_in_the_smallest_recorded_size_that_holds_the_batch(
    tiny_folder: Path, tiny_prompts: list[list[int]], tiny_answers: list[list[int]]
) -> None:
    capture = RecordedReplays()
    config = AutoConfig.from_pretrained(tiny_folder)
    with SafeTensors(tiny_folder, torch.float32, CPU) as tensors:
        runner = CudaRunner(config, SPEC, tensors, CPU, frozenset(), capture)
    assert generate(runner, [*tiny_prompts, tiny_prompts[0]], 16, CONFIG) == [*tiny_answers, tiny_answers[0]]
    assert set(capture.replays) >= {4, 6}
    assert set(capture.replays) <= {1, 2, 4, 6}


def test_a_step_reads_its_inputs_where_the_recording_did(
    runner: CudaRunner, tiny_prompts: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, ...]] = []
    fill = type(runner._inputs).fill

    def noting(inputs: Any, *args: Any) -> None:
        fill(inputs, *args)
        seen.append(
            tuple(t.data_ptr() for t in (inputs.tokens, inputs.positions, inputs.slots, inputs.tables))
        )

    monkeypatch.setattr(type(runner._inputs), "fill", noting)
    generate(runner, tiny_prompts, 8, CONFIG)
    assert len(seen) > 8
    assert len(set(seen)) == 1


@pytest.mark.parametrize(("quantization", "at_most"), [("int8", 0.55), ("int4", 0.42)])
def test_quantized_weights_are_smaller_and_still_answer(
    model_folder: Path, prompts: list[list[int]], expected: list[list[int]], quantization: Any, at_most: float
) -> None:
    spec = replace(SPEC, dtype="bfloat16", quantization=quantization)
    quantized = CudaRunner.from_pretrained(model_folder, spec, HERE)
    in_16_bits = 2 * 134_515_008  # parameters
    assert quantized.weight_bytes() < at_most * in_16_bits
    assert generate(quantized, prompts[2:3], 4, CONFIG)[0] == expected[2][:4]


def test_random_weights_make_a_model_of_the_right_size() -> None:
    config = LlamaConfig(**SIZES, dtype="bfloat16")
    runner = CudaRunner(config, SPEC, RandomTensors(torch.float32, HERE), HERE)
    model = AutoModelForCausalLM.from_config(config)
    assert runner.weight_bytes() == 4 * sum(parameter.numel() for parameter in model.parameters())
    assert runner.bytes_read_per_step() == runner.weight_bytes() - 4 * 97 * 64
    assert generate(runner, [[1, 2, 3]], 5, CONFIG) != [[]]


def test_missing_or_misshapen_weights_are_named(tmp_path: Path) -> None:
    config = LlamaConfig(**SIZES)
    save_random(AutoModelForCausalLM.from_config(config), tmp_path)
    with pytest.raises(ModelLoadError, match=r"lack model\.layers\.3"):
        runner_of(LlamaConfig(**SIZES | {"num_hidden_layers": 4}), tmp_path)
    with pytest.raises(ModelLoadError, match=r"norm.weight is \(64,\), not \(32,\) as the config says"):
        runner_of(LlamaConfig(**SIZES | {"hidden_size": 32, "num_hidden_layers": 0}), tmp_path)


def test_a_cache_that_cannot_be_had_is_a_memory_error(tmp_path: Path) -> None:
    runner = CudaRunner(LlamaConfig(**SIZES), SPEC, RandomTensors(torch.float32, HERE), HERE)
    with pytest.raises(MemoryError, match="lower kv_cache_mib"):
        runner.allocate(2**40, 16)


@pytest.mark.parametrize(
    ("raised", "told"),
    [(torch.OutOfMemoryError("no"), MemoryError), (torch.AcceleratorError("illegal access"), DeviceFailed)],
)
def test_faults_of_the_device_are_told_apart(
    raised: Exception, told: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = CudaRunner(LlamaConfig(**SIZES), SPEC, RandomTensors(torch.float32, CPU), CPU)

    def fail(*args: Any) -> None:
        raise raised

    monkeypatch.setattr(runner, "_run", fail)
    with pytest.raises(told):
        runner.run([])


HALF = replace(SPEC, dtype="bfloat16", device_map="cuda:0")
INT4 = replace(HALF, quantization="int4")


@pytest.fixture
def one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked of a GPU before a runner is chosen for it."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())


@pytest.mark.usefixtures("one_gpu")
def test_every_family_is_supported_on_a_gpu() -> None:
    for quantization in ("none", "int8", "int4"):
        spec = replace(HALF, quantization=quantization)
        assert [CudaRunner.supports(config, spec, CUDA) for config in TINY_MODELS.values()] == [None] * 6


@pytest.mark.usefixtures("one_gpu")
@pytest.mark.parametrize(
    ("config", "spec", "device", "reason"),
    [
        (LlamaConfig(**SIZES), HALF, CPU, "device cpu is not an NVIDIA GPU"),
        (LlamaConfig(**SIZES), replace(HALF, dtype="float32"), CUDA, "dtype float32"),
        (AutoConfig.for_model("gpt2"), HALF, CUDA, "gpt2 is not one of"),
        (LlamaConfig(**SIZES, hidden_act="gelu"), HALF, CUDA, "activation gelu"),
        (LlamaConfig(**SIZES, attention_bias=True), HALF, CUDA, "biases"),
        (LlamaConfig(**SIZES, head_dim=512), HALF, CUDA, "head dimension 512"),
        (LlamaConfig(**SIZES | {"hidden_size": 96}), INT4, CUDA, "multiples of 64"),
        (
            LlamaConfig(**SIZES, rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}),
            HALF, CUDA, "rotary scaling dynamic",
        ),
    ],
)  # fmt: skip
def test_what_it_cannot_run_is_refused_with_the_reason(
    config: PretrainedConfig, spec: ModelSpec, device: torch.device, reason: str
) -> None:
    assert reason in (CudaRunner.supports(config, spec, device) or "")


@pytest.mark.usefixtures("one_gpu")
def test_machines_it_cannot_run_on_are_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    config = LlamaConfig(**SIZES)
    with monkeypatch.context() as patch:
        patch.setattr("importlib.util.find_spec", lambda name: None)
        assert "triton" in (CudaRunner.supports(config, HALF, CUDA) or "")
    with monkeypatch.context() as patch:
        patch.setattr(torch.cuda, "device_count", lambda: 2)
        assert CudaRunner.supports(config, HALF, CUDA) is None
        assert "several GPUs" in (CudaRunner.supports(config, replace(HALF, device_map="auto"), CUDA) or "")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "A card")
    assert "A card is older" in (CudaRunner.supports(config, HALF, CUDA) or "")


@pytest.mark.parametrize("reason", [None, "its stars are wrong"])
def test_on_a_gpu_it_is_chosen_if_it_can_and_the_reason_is_told(
    reason: str | None, default_spec: ModelSpec, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader, "_gpu", lambda spec: CPU)
    monkeypatch.setattr(CudaRunner, "supports", lambda config, spec, device: reason)
    source = replace(default_spec.source, kind="path", location=str(model_folder))
    spec = replace(default_spec, source=source, quantization="none")
    loaded = loader.load(spec, model_folder.parent, lambda label, fraction: None)
    if reason is None:
        assert isinstance(loaded.runner, CudaRunner)
        assert loaded.runner.eos_token_ids == {2}
        assert loaded.runner_reason == "llama with bfloat16 weights on cpu"
    else:
        assert isinstance(loaded.runner, TransformersRunner)
        assert loaded.runner_reason == "the GPU runner cannot: its stars are wrong"
