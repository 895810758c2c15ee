"""The general runner: any causal model that transformers can load, on CPU or GPU.

All sequences of a step are packed into one row of tokens and go through the model's own forward once.
The model calls our attention function in place of its own (transformers' ``AttentionInterface``); that
function alone knows where one sequence ends and the next begins, and keeps keys and values in blocks.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence as Seq
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from transformers import AttentionInterface, AutoModelForCausalLM, BitsAndBytesConfig

from serving.engine.core import BatchItem, StepResult
from serving.engine.errors import DeviceFailed, ModelLoadError
from serving.engine.models_file import ModelSpec
from serving.engine.paged_attention import NAME, LayerShape, PagedStep, observe_layers, paged_attention
from serving.engine.pooling import hidden_sums
from serving.engine.sampling.logprobs import batch_logprobs
from serving.engine.sampling.sampler import Sampler, SamplingRow
from serving.engine.saying import say

_SWITCH_SECONDS = 5e-5

AttentionInterface.register(NAME, paged_attention)


class TransformersRunner:
    """A ``ModelRunner`` around a loaded transformers model."""

    def __init__(self, model: Any, name: str) -> None:
        """Raises ModelLoadError for models whose state is not attention's keys and values alone."""
        self.name = name
        self.vocab_size: int = model.get_input_embeddings().num_embeddings
        self.eos_token_ids = _eos_token_ids(model)
        self._model = model.eval()
        self._device: torch.device = model.get_input_embeddings().weight.device
        self._model.set_attn_implementation(NAME)
        self._model.base_model.register_forward_hook(self._keep_hidden)
        self._sample = Sampler()
        self._layers = self._find_layers()
        self._keys: list[torch.Tensor] = []
        self._values: list[torch.Tensor] = []
        self._block_size = 0

    def allocate(self, kv_blocks: int, block_size: int) -> None:
        self._block_size = block_size
        slots = kv_blocks * block_size
        try:
            self._keys = [layer.empty_keys(slots) for layer in self._layers]
            self._values = [layer.empty_values(slots) for layer in self._layers]
        except RuntimeError as error:  # what torch raises on the CPU; on a GPU a subclass of it
            gib = slots * self.kv_bytes_per_token() / 2**30
            raise MemoryError(
                say("The cache of %(gib)s GiB does not fit: lower kv_cache_mib.", gib=f"{gib:.1f}")
            ) from error

    def run(self, batch: Seq[BatchItem]) -> StepResult:
        try:
            return self._run(batch)
        except torch.OutOfMemoryError as error:
            raise MemoryError("The GPU has no memory for this step.") from error
        except torch.AcceleratorError as error:  # CUDA's errors last as long as the process's hold on the GPU
            raise DeviceFailed(f"The GPU failed: {str(error).splitlines()[0]}") from error

    def _run(self, batch: Seq[BatchItem]) -> StepResult:
        step = PagedStep(batch, self._block_size, self._keys, self._values)
        tokens = [t for i in batch for t in i.sequence.token_ids[i.start : i.start + i.length]]
        positions = [p for i in batch for p in range(i.start, i.start + i.length)]
        needed = [item.needed for item in batch]
        wanted = [first + row for first, rows in zip(step.first_rows, needed, strict=True) for row in rows]
        ends = list(accumulate(map(len, needed)))
        with torch.inference_mode(), step:
            logits = self._forward(tokens, positions, wanted)
            last = [end - 1 for end, item in zip(ends, batch, strict=True) if item.samples]
            rows = [SamplingRow.of(item) for item in batch if item.samples]
            sampled = self._sample(logits[last], rows) if rows else []
            told = batch_logprobs(batch, logits, ends, sampled)
            return StepResult(sampled, told, hidden_sums(batch, step.first_rows, self._hidden[0]))

    def weight_bytes(self) -> int:
        held = {t.data_ptr(): t.nbytes for t in (*self._model.parameters(), *self._model.buffers())}
        return sum(held.values())

    def kv_bytes_per_token(self) -> int:
        return sum(layer.bytes_per_token for layer in self._layers)

    def _forward(self, tokens: list[int], positions: list[int], wanted: list[int]) -> torch.Tensor:
        """Logits (len(wanted), vocabulary). With none wanted one row is computed all the same: models
        read an empty selection as "all rows"."""
        return self._model(
            input_ids=torch.tensor([tokens], device=self._device),
            position_ids=torch.tensor([positions], device=self._device),
            use_cache=False,
            logits_to_keep=torch.tensor(wanted or [0], device=self._device),
        ).logits[0]

    def _keep_hidden(self, body: Any, args: Any, output: Any) -> None:
        """Called with what the model's body gives its head: (1, tokens, hidden), behind the final norm."""
        self._hidden: torch.Tensor = output[0]

    def _find_layers(self) -> list[LayerShape]:
        """Run one token through the model to see which layers call our attention, and with what."""
        with torch.inference_mode(), observe_layers() as seen:
            self._forward([0], [0], [0])
        layers = self._model.config.get_text_config().num_hidden_layers
        if sorted(seen) != list(range(layers)):
            raise ModelLoadError(
                say(
                    "%(model)s: architecture %(architecture)s keeps state outside of attention (%(seen)s of"
                    " %(layers)s layers use transformers' attention interface); choose another.",
                    model=self.name,
                    architecture=type(self._model).__name__,
                    seen=len(seen),
                    layers=layers,
                )
            )
        return [seen[index] for index in range(layers)]


def load_transformers_runner(folder: Path, spec: ModelSpec) -> TransformersRunner:
    """Load the weights in ``folder`` as ``spec`` wants them: dtype, quantization, devices.

    int8 is LLM.int8() and int4 is NF4, both by bitsandbytes. Raises whatever transformers raises.
    """
    # torch gives up the GIL around each of some 700 operations of a step. At Python's usual 5 ms one
    # busy thread makes a step of 17 ms take 4 s; at this interval, 0.1 s.
    sys.setswitchinterval(_SWITCH_SECONDS)
    dtype = getattr(torch, spec.dtype)
    on_cpu = spec.device_map == "cpu" or not torch.cuda.is_available()
    model = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=dtype,
        device_map="cpu" if on_cpu else spec.device_map,
        attn_implementation=NAME,
        quantization_config=_bitsandbytes(spec, dtype),
        local_files_only=True,
    )
    return TransformersRunner(model, spec.name)


def _bitsandbytes(spec: ModelSpec, dtype: Any) -> BitsAndBytesConfig | None:
    if spec.quantization == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    if spec.quantization == "int4":
        return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)
    return None


def _eos_token_ids(model: Any) -> frozenset[int]:
    """The generation config knows all ends of turn; the model's config often one of them only."""
    for config in (model.generation_config, model.config):
        eos = getattr(config, "eos_token_id", None)
        if eos is not None:
            return frozenset([eos] if isinstance(eos, int) else eos)
    return frozenset()
