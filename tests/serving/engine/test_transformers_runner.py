from __future__ import annotations

import copy
from collections.abc import Sequence as Seq
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    MambaConfig,
    MistralConfig,
    Qwen2Config,
)

from serving.engine.core import EngineConfig, GenerationRequest, ModelRunner
from serving.engine.engine import Engine
from serving.engine.errors import ModelLoadError
from serving.engine.loader import LoadedModel
from serving.engine.models_file import ModelSpec
from serving.engine.sampling.params import SamplingParams
from serving.engine.transformers_runner import TransformersRunner, load_transformers_runner
from tests.serving.engine.conftest import HERE, greedy_by_transformers

CONFIG = EngineConfig(max_model_len=512, kv_blocks=64, block_size=16, max_batch_size=8, prefill_chunk=64)

SIZES = {"vocab_size": 97, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4}
HEADS = {"num_key_value_heads": 2, "intermediate_size": 48, "max_position_embeddings": 256}
ENDLESS = {"eos_token_id": None, "bos_token_id": None, "pad_token_id": 0, "tie_word_embeddings": False}
TINY_MODELS = {
    "qwen2: biases, shared key heads": Qwen2Config(**SIZES, **HEADS, **ENDLESS),
    "mistral: every layer sees the last 8 tokens": MistralConfig(
        **SIZES, **HEADS, **ENDLESS, sliding_window=8
    ),
    "gpt2: learned positions, other layer names": GPT2Config(**SIZES, **ENDLESS, n_positions=256),
    "gemma2: capped scores, every other layer sees 8 tokens": Gemma2Config(
        **SIZES, **HEADS, **ENDLESS, head_dim=16, sliding_window=8, attn_logit_softcapping=2.0
    ),
    "gemma3: two kinds of rotary positions": Gemma3TextConfig(
        **SIZES, **HEADS, **ENDLESS, head_dim=16, sliding_window=8, sliding_window_pattern=2
    ),
}


def generate(
    runner: ModelRunner,
    prompts: Seq[Seq[int]],
    max_tokens: int,
    config: EngineConfig = CONFIG,
    **params: Any,
) -> list[list[int]]:
    """What an engine generates for ``prompts`` submitted at once."""
    tokens: dict[str, list[int]] = {str(index): [] for index in range(len(prompts))}
    unfinished = set(tokens)

    def receive(outputs: Any) -> None:
        for output in outputs:
            assert output.error is None, output.error
            tokens[output.request_id] += output.token_ids
            if output.finish_reason is not None:
                unfinished.remove(output.request_id)

    engine = Engine(config, runner, receive)
    wanted = SamplingParams(**{"max_tokens": max_tokens, "temperature": 0.0, **params})
    for index, prompt in enumerate(prompts):
        engine.submit(GenerationRequest(str(index), tuple(prompt), wanted))
    while unfinished:
        engine.step()
        engine.check_integrity()
    return list(tokens.values())


@pytest.fixture(scope="module")
def runner(exact_model: LoadedModel) -> TransformersRunner:
    assert isinstance(exact_model.runner, TransformersRunner)
    return exact_model.runner


@pytest.fixture(scope="module")
def tiny(tiny_model: Any) -> TransformersRunner:
    return TransformersRunner(copy.deepcopy(tiny_model), "tiny")


def test_the_real_model_answers_as_under_transformers_generate(
    runner: TransformersRunner, prompts: list[list[int]], expected: list[list[int]]
) -> None:
    assert generate(runner, prompts, 16) == expected


def test_a_batch_answers_as_each_alone(
    tiny: TransformersRunner, tiny_prompts: list[list[int]], tiny_answers: list[list[int]]
) -> None:
    assert [generate(tiny, [prompt], 16)[0] for prompt in tiny_prompts] == tiny_answers
    assert generate(tiny, tiny_prompts, 16) == tiny_answers


def test_prompts_in_chunks_and_shared_beginnings_answer_the_same(
    tiny: TransformersRunner, tiny_prompts: list[list[int]], tiny_answers: list[list[int]]
) -> None:
    assert generate(tiny, tiny_prompts * 2, 16, replace(CONFIG, prefill_chunk=7)) == tiny_answers * 2


def test_a_cache_so_small_that_sequences_are_preempted_answers_the_same(
    tiny: TransformersRunner, tiny_prompts: list[list[int]], tiny_answers: list[list[int]]
) -> None:
    small = replace(CONFIG, kv_blocks=24, block_size=4)
    assert generate(tiny, tiny_prompts[2:], 16, small) == tiny_answers[2:]


def test_a_seed_gives_the_same_answer_alone_and_in_a_batch(
    tiny: TransformersRunner, tiny_prompts: list[list[int]]
) -> None:
    alone = generate(tiny, tiny_prompts[:1], 16, temperature=0.9, top_p=0.95, seed=42)
    assert generate(tiny, tiny_prompts, 16, temperature=0.9, top_p=0.95, seed=42)[:1] == alone
    assert generate(tiny, tiny_prompts[:1], 16, temperature=0.9, top_p=0.95, seed=43) != alone


@pytest.mark.parametrize("name", TINY_MODELS)
def test_other_architectures_answer_as_under_transformers_generate(name: str) -> None:
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(TINY_MODELS[name]).eval()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    prompts = [[(7 * i + length) % 97 for i in range(length)] for length in (3, 21, 40)]
    expected = [greedy_by_transformers(model, prompt, 20) for prompt in prompts]
    assert len({token for answer in expected for token in answer}) > 5, "too dull a model to tell anything"
    runner = TransformersRunner(model.to(HERE), name)
    assert generate(runner, prompts, 20, replace(CONFIG, prefill_chunk=10, block_size=4)) == expected


def test_a_model_without_attention_is_refused_by_name() -> None:
    model = AutoModelForCausalLM.from_config(
        MambaConfig(vocab_size=97, hidden_size=32, num_hidden_layers=2, state_size=4)
    )
    with pytest.raises(ModelLoadError, match="MambaForCausalLM"):
        TransformersRunner(model, "mamba")


@pytest.mark.parametrize(("quantization", "at_most"), [("int8", 0.7), ("int4", 0.5)])
def test_bitsandbytes_weights_are_smaller_and_still_answer(
    default_spec: ModelSpec, model_folder: Path, runner: TransformersRunner, prompts: list[list[int]],
    expected: list[list[int]], quantization: Any, at_most: float,
) -> None:  # fmt: skip
    spec = replace(default_spec, quantization=quantization, device_map="cpu")
    quantized = load_transformers_runner(model_folder, spec)
    assert quantized.weight_bytes() < at_most * runner.weight_bytes() / 2
    counted = generate(quantized, prompts[2:3], 4)[0]
    assert counted[:4] == expected[2][:4]


class Asked(Exception):
    """What transformers was asked to load."""


@pytest.mark.parametrize(("quantization", "bits"), [("none", None), ("int8", 8), ("int4", 4)])
def test_on_gpus_accelerate_places_and_bitsandbytes_quantizes_the_weights(
    default_spec: ModelSpec, model_folder: Path, quantization: Any, bits: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def ask(folder: Path, **options: Any) -> None:
        raise Asked(options)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", ask)
    with pytest.raises(Asked) as caught:
        load_transformers_runner(model_folder, replace(default_spec, quantization=quantization))
    options = caught.value.args[0]
    assert (options["device_map"], options["dtype"]) == ("auto", torch.bfloat16)
    config = options["quantization_config"]
    assert (config and (8 if config.load_in_8bit else 4 * config.load_in_4bit)) == bits


def test_a_cache_that_cannot_be_had_is_a_memory_error(runner: TransformersRunner) -> None:
    with pytest.raises(MemoryError, match="lower kv_cache_mib"):
        runner.allocate(2**40, 16)
