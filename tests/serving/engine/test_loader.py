from __future__ import annotations

import logging
import re
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GPT2Config, LlamaConfig

from serving.engine.core import GenerationRequest, SequenceOutput
from serving.engine.engine import Engine
from serving.engine.errors import ModelLoadError
from serving.engine.loader import engine_config, load
from serving.engine.models_file import ModelSource, ModelSpec
from serving.engine.native.runner import NativeRunner
from serving.engine.sampling.params import SamplingParams
from serving.engine.transformers_runner import TransformersRunner


def silent(label: str, fraction: float) -> None:
    pass


@pytest.fixture(scope="module")
def tiny_gpt2(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> ModelSpec:
    folder = tmp_path_factory.mktemp("gpt2")
    config = GPT2Config(
        vocab_size=49152, n_embd=128, n_layer=1, n_head=2, n_positions=128, bos_token_id=1, eos_token_id=2
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(model_folder).save_pretrained(folder)
    return ModelSpec("gpt2", ModelSource("path", str(folder)), dtype="float32", device_map="cpu")


@pytest.fixture(scope="module")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> ModelSpec:
    folder = tmp_path_factory.mktemp("llama")
    config = LlamaConfig(
        vocab_size=49152, hidden_size=64, intermediate_size=64, num_hidden_layers=1, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, max_position_embeddings=128, eos_token_id=2, bos_token_id=1,
    )  # fmt: skip
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(model_folder).save_pretrained(folder)
    return ModelSpec("llama", ModelSource("path", str(folder)), quantization="int8", device_map="cpu")


def test_the_default_model_gets_the_native_runner_and_says_why(
    default_spec: ModelSpec, model_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spec = replace(default_spec, device_map="cpu")
    reports: list[float] = []
    with caplog.at_level(logging.INFO, "serving.engine.loader"):
        loaded = load(spec, model_folder.parent, lambda label, fraction: reports.append(fraction))
    said = (
        r": NativeRunner, because llama with int8 weights on a CPU; 1\d\d MiB of weights, at most 5\d\d MiB"
    )
    assert re.search(said, caplog.text)
    assert isinstance(loaded.runner, NativeRunner)
    assert "int8" in loaded.runner_reason
    assert loaded.architecture == "LlamaForCausalLM"
    assert (reports == sorted(reports), reports[-1]) == (True, 1.0)


def test_the_default_model_answers_through_an_engine(default_spec: ModelSpec, model_folder: Path) -> None:
    loaded = load(replace(default_spec, device_map="cpu"), model_folder.parent, silent)
    tokens: list[int] = []
    done = threading.Event()

    def receive(outputs: list[SequenceOutput]) -> None:
        for output in outputs:
            tokens.extend(output.token_ids)
            if output.finish_reason:
                done.set()

    engine = Engine(loaded.config, loaded.runner, receive)
    engine.start()
    question = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tuple(loaded.tokenizer.apply_chat_template(question))
    engine.submit(GenerationRequest("r", prompt, SamplingParams(max_tokens=20, temperature=0)))
    assert done.wait(60)
    engine.stop()
    assert loaded.tokenizer.decode(tokens) == "The capital of France is Paris."


def test_other_architectures_get_the_general_runner_and_say_why(tiny_gpt2: ModelSpec, tmp_path: Path) -> None:
    loaded = load(tiny_gpt2, tmp_path, silent)
    assert isinstance(loaded.runner, TransformersRunner)
    assert loaded.runner_reason.startswith("the native runner cannot")
    assert loaded.config.max_model_len == 128


def test_a_folder_without_weights_is_named_in_one_line(tiny_gpt2: ModelSpec, tmp_path: Path) -> None:
    source = Path(tiny_gpt2.source.location)
    (tmp_path / "config.json").write_text((source / "config.json").read_text())
    spec = replace(tiny_gpt2, source=replace(tiny_gpt2.source, location=str(tmp_path)))
    with pytest.raises(ModelLoadError, match="gpt2 cannot be loaded from") as error:
        load(spec, tmp_path, silent)
    assert "\n" not in str(error.value)


def test_a_gpu_that_is_not_there_is_said_with_what_is_supported(
    tiny_gpt2: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ModelLoadError, match='Supported here: "cpu" or "auto"'):
        load(replace(tiny_gpt2, device_map="cuda:0"), tmp_path, silent)


@pytest.fixture(scope="module")
def config(model_folder: Path) -> Any:
    return AutoConfig.from_pretrained(model_folder)


def test_the_cache_has_as_many_blocks_as_the_memory_allows(default_spec: ModelSpec, config: Any) -> None:
    sized = engine_config(replace(default_spec, kv_cache_mib=100), config, kv_bytes_per_token=2**14)
    assert sized.kv_blocks * sized.block_size == 6400
    assert sized.max_model_len == 6400, "less than the model's 8192, for more would not fit"


def test_a_length_beyond_the_model_or_the_cache_is_refused(default_spec: ModelSpec, config: Any) -> None:
    with pytest.raises(ModelLoadError, match="at most 8192 tokens: lower max_model_len"):
        engine_config(replace(default_spec, max_model_len=8193), config, 1)
    with pytest.raises(ModelLoadError, match="holds 64 tokens only"):
        engine_config(replace(default_spec, max_model_len=100, kv_cache_mib=1), config, 2**14)


def test_the_kernels_are_compiled_before_the_weights_are_read_and_it_is_told(
    tiny_llama: ModelSpec, tmp_path: Path
) -> None:
    told: list[tuple[str, float]] = []
    for _ in range(2):
        load(tiny_llama, tmp_path / "models", lambda label, fraction: told.append((label, fraction)))
    labels = list(dict.fromkeys(label for label, _ in told))
    assert labels.index("Compiling the CPU kernels") < labels.index("Loading llama")
    first_load = told[: 1 + [fraction for _, fraction in told].index(1.0)]
    assert [fraction for _, fraction in first_load] == sorted(fraction for _, fraction in first_load)
    assert len([label for label, _ in first_load if label.startswith("Compiling")]) >= 3, "it moves"
    assert "Compiling the CPU kernels" not in [label for label, _ in told[len(first_load) :]]


LOAD_ALL_WAYS = """
import sys
from dataclasses import replace
from pathlib import Path
from serving.engine.loader import load
from serving.engine.models_file import ModelSource, ModelSpec

gguf, folder, models = map(Path, sys.argv[1:])
spec = ModelSpec("tiny", ModelSource("gguf", str(gguf)), dtype="float32", device_map="cpu")
load(spec, models, lambda label, fraction: None)
spec = replace(spec, source=ModelSource("path", str(folder)), dtype="bfloat16")
for quantization in ("int8", "int4"):
    loaded = load(replace(spec, quantization=quantization), models, lambda label, fraction: None)
    assert type(loaded.runner).__name__ == "TransformersRunner"
"""


def test_the_libraries_write_nothing_beside_our_progress(
    gguf_file: Path, tiny_gpt2: ModelSpec, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", LOAD_ALL_WAYS, str(gguf_file), tiny_gpt2.source.location, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
