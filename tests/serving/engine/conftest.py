from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from collections.abc import Sequence as Seq
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from serving.engine.loader import LoadedModel, load
from serving.engine.model_store import prepare
from serving.engine.models_file import ModelSpec, read_models_file
from serving.engine.native.runner import NativeRunner
from serving.engine.transformers_runner import TransformersRunner

REPOSITORY = Path(__file__).parents[3]
MODELS_DIR = REPOSITORY / "var" / "models"
CPU, CUDA = torch.device("cpu"), torch.device("cuda:0")
HERE = CUDA if torch.cuda.is_available() else CPU  # where tests of what runs on both run it
QUESTIONS = ["What is the capital of France?", "请解释什么是机器学习?", "Count from 1 to 20.", "Hi!"]


@pytest.fixture(scope="session")
def default_spec() -> ModelSpec:
    return read_models_file(REPOSITORY / "models.toml")[0]


@pytest.fixture(scope="session")
def model_folder(default_spec: ModelSpec) -> Path:
    """The default model on disk. Converted at the first use ever, found there afterwards."""
    return prepare(default_spec, MODELS_DIR, lambda label, fraction: None)


@pytest.fixture(scope="session")
def exact_model(default_spec: ModelSpec, model_folder: Path) -> LoadedModel:
    """The default model in float32 and not quantized, so that outputs can be compared exactly."""
    source = replace(default_spec.source, kind="path", location=str(model_folder))
    spec = replace(default_spec, source=source, dtype="float32", quantization="none", device_map="cpu")
    return load(spec, MODELS_DIR, lambda label, fraction: None)


@pytest.fixture(scope="session")
def reference_model(model_folder: Path) -> Any:
    """The default model as transformers runs it, in float32."""
    return AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32, local_files_only=True)


@pytest.fixture(scope="session")
def native_runner(model_folder: Path) -> Iterator[Callable[[str], NativeRunner]]:
    """The default model in the native runner, by its kind of weights. Whoever gets it allocates first."""
    loaded: dict[str, NativeRunner] = {}

    def get(kind: str) -> NativeRunner:
        if kind not in loaded:
            loaded[kind] = NativeRunner.from_pretrained(model_folder, kind)
        return loaded[kind]

    yield get
    for runner in loaded.values():
        runner.close()


@pytest.fixture(scope="session")
def prompts(exact_model: LoadedModel) -> list[list[int]]:
    """Four questions to the default model."""
    chats = [[{"role": "user", "content": question}] for question in QUESTIONS]
    return [exact_model.tokenizer.apply_chat_template(chat) for chat in chats]


@pytest.fixture(scope="session")
def expected(reference_model: Any, prompts: list[list[int]]) -> list[list[int]]:
    """The first 16 tokens of their answers under transformers' own generate."""
    answers = [greedy_by_transformers(reference_model, prompt, 16) for prompt in prompts]
    eos = reference_model.generation_config.eos_token_id
    return [answer[:-1] if answer[-1] == eos else answer for answer in answers]


def greedy_by_transformers(model: Any, prompt: Seq[int], max_tokens: int) -> list[int]:
    ids = torch.tensor([list(prompt)])
    # Without a mask of ones, generate takes tokens that happen to be the padding token for padding.
    mask = torch.ones_like(ids)
    output = model.generate(ids, attention_mask=mask, max_new_tokens=max_tokens, do_sample=False)
    tokens: list[int] = output[0, len(prompt) :].tolist()
    return tokens


@pytest.fixture(scope="session")
def gguf_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    write_gguf(file)
    return file


def write_gguf(path: Path) -> None:
    """A Llama of one layer with 16-wide random weights, and a tokenizer of 30 tokens."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(16)
    writer.add_feed_forward_length(32)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    pieces = [*"abcdefghijklmnopqrstuvwxyz", "ab"]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(["<unk>", "<s>", "</s>", *pieces])
    writer.add_token_types([3, 3, 3] + [1] * len(pieces))
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_vocab_size(3 + len(pieces))
    writer.add_chat_template("{% for m in messages %}{{ m['content'] }}{% endfor %}")
    random = np.random.default_rng(0)
    shapes = {
        "token_embd": (30, 16), "output_norm": (16,), "output": (30, 16),
        "blk.0.attn_norm": (16,), "blk.0.ffn_norm": (16,),
        "blk.0.attn_q": (16, 16), "blk.0.attn_k": (8, 16), "blk.0.attn_v": (8, 16),
        "blk.0.attn_output": (16, 16),
        "blk.0.ffn_gate": (32, 16), "blk.0.ffn_up": (32, 16), "blk.0.ffn_down": (16, 32),
    }  # fmt: skip
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", random.normal(size=shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture(scope="session")
def tiny_model() -> Any:
    """A Llama with random weights and 97 tokens, of which none ends anything."""
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=97, hidden_size=64, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=16, max_position_embeddings=256,
        eos_token_id=None, bos_token_id=None, tie_word_embeddings=False,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config).eval()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    return model


@pytest.fixture(scope="session")
def tiny_folder(tiny_model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("tiny")
    tiny_model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session", params=["general", "native"])
def tiny_runner(request: pytest.FixtureRequest, tiny_model: Any, tiny_folder: Path) -> Any:
    if request.param == "general":
        return TransformersRunner(copy.deepcopy(tiny_model), "tiny")
    return NativeRunner.from_pretrained(tiny_folder, "int8")


@pytest.fixture(scope="session")
def tiny_prompts() -> list[list[int]]:
    return [[(7 * i + length) % 97 for i in range(length)] for length in (3, 21, 40, 30)]


@pytest.fixture(scope="session")
def tiny_answers(tiny_model: Any, tiny_prompts: list[list[int]]) -> list[list[int]]:
    """The first 16 tokens after them under transformers' own generate."""
    answers = [greedy_by_transformers(tiny_model, prompt, 16) for prompt in tiny_prompts]
    assert len({token for answer in answers for token in answer}) > 5, "too dull a model to tell anything"
    return answers
