"""How near does the GPU runner come to the limit of the memory, and how far ahead of transformers is it?

    .venv/bin/python -m benchmarks.engine_cuda

A model shaped like Llama-3-8B with random weights, built on the GPU from its config: nothing is downloaded.
At batch 1 a step must read every weight once, and the keys and values of its past: the limit is as many
tokens per second as the bandwidth of a large copy, measured in the same run, allows for those bytes. With 64
sequences at once the peer is transformers' own continuous batching. Medians of ROUNDS.
"""

from __future__ import annotations

import gc
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, GenerationConfig, LlamaConfig

from benchmarks.report import write_result
from serving.engine.core import EngineConfig, GenerationRequest, SequenceOutput
from serving.engine.cuda.llama import RandomTensors
from serving.engine.cuda.runner import CudaRunner
from serving.engine.engine import Engine
from serving.engine.models_file import ModelSource, ModelSpec
from serving.engine.sampling.params import SamplingParams

ROUNDS = 3
PROMPT, NEW = 64, 256
CONCURRENT = 64
BLOCK_SIZE = 16
COPIED = 2 * 2**30
LLAMA_3_8B = LlamaConfig(
    vocab_size=128256, hidden_size=4096, intermediate_size=14336, num_hidden_layers=32,
    num_attention_heads=32, num_key_value_heads=8, max_position_embeddings=8192,
    rope_parameters={"rope_type": "default", "rope_theta": 5e5},
    tie_word_embeddings=False, bos_token_id=None, eos_token_id=None,
)  # fmt: skip
NAMES: dict[Any, str] = {"none": "bf16", "int8": "8 bit", "int4": "4 bit"}


def main() -> None:
    if not torch.cuda.is_available():
        sys.exit("benchmarks.engine_cuda needs an NVIDIA GPU, and torch sees none here.")
    device = torch.device("cuda:0")
    say("measuring the bandwidth of a copy")
    bandwidth = statistics.median(copy_bandwidth(device) for _ in range(ROUNDS))
    rows = [decode_row(kind, device, bandwidth) for kind in NAMES]
    rows.append(concurrent_row(device))
    say("")
    for each in rows:
        print(
            f"\r{each['case']:28} ours {each['ours']:8.1f} tok/s   {each['peer_name']:40}"
            f" {each['peer']:8.1f} tok/s   ratio {each['ratio']:.2f}"
        )
    gpu = {
        "gpu": torch.cuda.get_device_name(device), "torch": torch.__version__,
        "copy_bytes_per_second": bandwidth,
    }  # fmt: skip
    file = write_result("engine_cuda", [each | gpu for each in rows])
    print(f"{gpu['gpu']}, copy {bandwidth / 1e12:.2f} TB/s. Written to {file}.")


def copy_bandwidth(device: torch.device) -> float:
    """Bytes per second, read and written, of ten copies."""
    source = torch.empty(COPIED, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    target.copy_(source)
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(10):
        target.copy_(source)
    end.record()
    end.synchronize()
    return float(10 * 2 * COPIED / (begin.elapsed_time(end) / 1000))


def decode_row(quantization: Any, device: torch.device, bandwidth: float) -> dict[str, Any]:
    """Generated tokens per second after the first one, at batch 1."""
    case = f"decode, 1 sequence, {NAMES[quantization]}"
    say(f"{case}: building the model")
    ours = Ours(LLAMA_3_8B, device, quantization, rows=1)
    rates = rounds(case, ours.decode_rate)
    cached = (PROMPT + NEW // 2) * ours.runner.kv_bytes_per_token()
    step_bytes = ours.runner.bytes_read_per_step() + cached
    limit = bandwidth / step_bytes
    return row(case, rates, [limit], "limit of the memory") | {"bytes_per_step": step_bytes}


def concurrent_row(device: torch.device) -> dict[str, Any]:
    """Generated tokens per second over the whole run, prefill included, with bf16 weights."""
    case = f"{CONCURRENT} sequences, bf16"
    say(f"{case}: building our model")
    ours = Ours(LLAMA_3_8B, device, "none", rows=CONCURRENT)
    our_rates = rounds(f"{case}, ours", ours.rate)
    del ours
    say(f"{case}: building the peer's model")
    peer = Transformers(LLAMA_3_8B, device, rows=CONCURRENT)
    peer_rates = rounds(f"{case}, transformers", peer.rate)
    return row(case, our_rates, peer_rates, f"transformers {transformers.__version__} generate_batch")


class Ours:
    """Our engine around a model of random weights."""

    def __init__(
        self, config: Any, device: torch.device, quantization: Any, rows: int, dtype: Any = "bfloat16"
    ) -> None:
        free()
        spec = ModelSpec(
            "random", ModelSource("path", ""), dtype=dtype, quantization=quantization, max_batch_size=rows,
            max_model_len=PROMPT + NEW,
        )  # fmt: skip
        blocks = rows * -(-(PROMPT + NEW) // BLOCK_SIZE)
        bounds = EngineConfig(PROMPT + NEW, blocks, BLOCK_SIZE, max_batch_size=rows, prefill_chunk=1024)
        self.runner = CudaRunner(config, spec, RandomTensors(getattr(torch, dtype), device), device)
        self._engine = Engine(bounds, self.runner, self._receive)
        self._rows, self._turn = rows, 0
        self._times: list[float] = []

    def decode_rate(self) -> float:
        times = self._generate()
        return (len(times) - 1) / (times[-1] - times[0])

    def rate(self) -> float:
        begin = time.perf_counter()
        return len(self._generate()) / (time.perf_counter() - begin)

    def _generate(self) -> list[float]:
        """When each generated token came, by time.perf_counter."""
        self._times = []
        self._turn += 1
        params = SamplingParams(max_tokens=NEW, temperature=0)
        for index, ids in enumerate(prompts(self._rows, self._turn, self.runner.vocab_size)):
            self._engine.submit(GenerationRequest(str(index), tuple(ids), params))
        while len(self._times) < self._rows * NEW:
            self._engine.step()
        return self._times

    def _receive(self, outputs: list[SequenceOutput]) -> None:
        for output in outputs:
            assert output.error is None, output.error
            self._times += [time.perf_counter()] * len(output.token_ids)


class Transformers:
    """transformers' continuous batching around a model of the same shape, kept warm between rounds."""

    def __init__(self, config: Any, device: torch.device, rows: int, dtype: Any = torch.bfloat16) -> None:
        free()
        with device:
            model = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="sdpa")
        self._model: Any = model.eval()
        self._rows, self._turn = rows, 0

    def rate(self) -> float:
        self._turn += 1
        inputs = prompts(self._rows, self._turn, self._model.config.vocab_size)
        wanted = GenerationConfig(max_new_tokens=NEW, do_sample=False, eos_token_id=-1, pad_token_id=0)
        begin = time.perf_counter()
        answers = self._model.generate_batch(inputs=inputs, generation_config=wanted, persistent_manager=True)
        tokens = sum(len(answer.generated_tokens) for answer in answers.values())
        assert tokens == self._rows * NEW, f"{tokens} tokens of {self._rows * NEW}"
        return tokens / (time.perf_counter() - begin)


def prompts(rows: int, turn: int, vocabulary: int) -> list[list[int]]:
    """Different ones each time, so that no cache of beginnings helps."""
    firsts = (rows * turn + row for row in range(rows))
    return [[(first * 7919 + place * 104729) % vocabulary for place in range(PROMPT)] for first in firsts]


def rounds(case: str, measure: Callable[[], float]) -> list[float]:
    """One to warm up, and ROUNDS that count."""
    say(f"{case}: warming up")
    measure()
    rates = []
    for turn in range(ROUNDS):
        say(f"{case}: round {turn + 1} of {ROUNDS}")
        rates.append(measure())
    return rates


def row(case: str, ours: list[float], peer: list[float], peer_name: str) -> dict[str, Any]:
    ours_median, peer_median = statistics.median(ours), statistics.median(peer)
    return {
        "case": case, "ours": ours_median, "peer": peer_median, "peer_name": peer_name,
        "ratio": ours_median / peer_median, "rounds": ours, "peer_rounds": peer,
    }  # fmt: skip


def say(what: str) -> None:
    """The one line of progress."""
    print(f"\r{what:78}", end="", file=sys.stderr, flush=True)


def free() -> None:
    """What was deleted goes back before the next model comes."""
    gc.collect()
    torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
