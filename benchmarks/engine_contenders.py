"""One contender in a process of its own: ``python engine_contenders.py NAME MODEL_FOLDER GGUF_FILE``.

Reads cases as JSON lines, {"prompts": [[token id]], "new_tokens": n}, and answers each with the seconds it
took to generate exactly n tokens greedily for every prompt. Peers run in a virtual environment without
ours, so that each contender imports what it needs by itself.
"""

from __future__ import annotations

import json
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

THREADS = 2
CONTEXT = 64 * 160


class Contender(Protocol):
    version: str

    def generate(self, prompts: list[list[int]], new_tokens: int) -> None: ...


class Ours:
    def __init__(self, folder: Path, quantization: str) -> None:
        from benchmarks.engine_ours import OurEngine

        self._engine = OurEngine(folder, quantization)
        self.version = f"{quantization} weights"

    def generate(self, prompts: list[list[int]], new_tokens: int) -> None:
        self._engine.generate(prompts, new_tokens)


class LlamaCpp:
    """llama.cpp's own batch API through llama-cpp-python; its high-level class runs one sequence only."""

    def __init__(self, gguf: Path) -> None:
        import llama_cpp

        self._c = llama_cpp
        self.version = version("llama-cpp-python")
        llama_cpp.llama_backend_init()
        self._model = llama_cpp.llama_model_load_from_file(
            str(gguf).encode(), llama_cpp.llama_model_default_params()
        )
        params = llama_cpp.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch, params.n_seq_max = CONTEXT, 2048, 512, 32
        params.n_threads = params.n_threads_batch = THREADS
        params.kv_unified = True
        self._context = llama_cpp.llama_init_from_model(self._model, params)
        self._vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self._model))
        self._batch = llama_cpp.llama_batch_init(2048, 0, 1)

    def generate(self, prompts: list[list[int]], new_tokens: int) -> None:
        self._c.llama_memory_clear(self._c.llama_get_memory(self._context), True)
        rows = [(s, i, t, i == len(p) - 1) for s, p in enumerate(prompts) for i, t in enumerate(p)]
        tokens: list[int] = []
        for start in range(0, len(rows), 2048):
            tokens += self._decode(rows[start : start + 2048])
        for step in range(new_tokens - 1):
            tokens = self._decode([(s, len(prompts[s]) + step, t, True) for s, t in enumerate(tokens)])

    def _decode(self, rows: list[tuple[int, int, int, bool]]) -> list[int]:
        import numpy as np

        batch = self._batch
        batch.n_tokens = len(rows)
        for i, (sequence, position, token, wanted) in enumerate(rows):
            batch.token[i], batch.pos[i], batch.logits[i] = token, position, wanted
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, sequence
        if self._c.llama_decode(self._context, batch):
            raise RuntimeError("llama_decode failed")
        chosen = []
        for i, row in enumerate(rows):
            if row[3]:
                logits = self._c.llama_get_logits_ith(self._context, i)
                chosen.append(int(np.ctypeslib.as_array(logits, (self._vocabulary,)).argmax()))
        return chosen


class OpenVino:
    """Its continuous batching scheduler on the same GGUF file."""

    def __init__(self, gguf: Path) -> None:
        import openvino_genai as genai

        self.version = version("openvino-genai")
        scheduler = genai.SchedulerConfig()
        scheduler.cache_size, scheduler.max_num_seqs = 1, 32
        scheduler.max_num_batched_tokens, scheduler.enable_prefix_caching = 512, False
        self._pipeline = genai.LLMPipeline(str(gguf), "CPU", scheduler_config=scheduler)

    def generate(self, prompts: list[list[int]], new_tokens: int) -> None:
        import numpy as np
        import openvino
        import openvino_genai as genai

        config = genai.GenerationConfig(
            max_new_tokens=new_tokens, ignore_eos=True, do_sample=False, apply_chat_template=False
        )
        ids = np.array(prompts, np.int64)
        inputs = genai.TokenizedInputs(openvino.Tensor(ids), openvino.Tensor(np.ones_like(ids)))
        self._pipeline.generate(inputs, config)


class Transformers:
    """``generate`` in bfloat16; with ``batching``, its continuous batching, which stays up between runs."""

    def __init__(self, folder: Path, *, batching: bool) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        torch.set_num_threads(THREADS)
        self.version = version("transformers")
        self._batching = batching
        self._model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()

    def generate(self, prompts: list[list[int]], new_tokens: int) -> None:
        import torch
        from transformers import ContinuousBatchingConfig, GenerationConfig

        config = GenerationConfig(
            max_new_tokens=new_tokens,
            min_new_tokens=new_tokens,
            do_sample=False,
            eos_token_id=-1,
            pad_token_id=2,
        )
        if self._batching:
            pages = ContinuousBatchingConfig(num_blocks=CONTEXT // 256, max_batch_tokens=512)
            self._model.generate_batch(prompts, config, pages, persistent_manager=True)
            return
        ids = torch.tensor(prompts)
        with torch.inference_mode():
            self._model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=config)


def contender(name: str, folder: Path, gguf: Path) -> Contender:
    makers: dict[str, Any] = {
        "ours int8": lambda: Ours(folder, "int8"),
        "ours int4": lambda: Ours(folder, "int4"),
        "llama.cpp": lambda: LlamaCpp(gguf),
        "OpenVINO GenAI": lambda: OpenVino(gguf),
        "transformers generate": lambda: Transformers(folder, batching=False),
        "transformers batching": lambda: Transformers(folder, batching=True),
    }
    made: Contender = makers[name]()
    return made


def main() -> None:
    name, folder, gguf = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    answers = sys.stdout
    sys.stdout = sys.stderr  # what libraries print does not belong among the answers
    made = contender(name, folder, gguf)
    print(json.dumps({"version": made.version}), file=answers, flush=True)
    for line in sys.stdin:
        started = time.perf_counter()
        made.generate(**json.loads(line))
        print(json.dumps({"seconds": time.perf_counter() - started}), file=answers, flush=True)


if __name__ == "__main__":
    main()
