"""The fast GPU runner: Llama-shaped models on one NVIDIA GPU, in 16 bits or quantized to 8 or 4.

A decode step is one copy of inputs, one replay of a CUDA graph and one wait for token ids, whatever the size
of the batch. Prompts are computed beside it, packed, kernel by kernel.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence as Seq
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoConfig

from serving.engine.core import BatchItem, StepResult
from serving.engine.cuda.graphs import (
    Capture,
    CudaCapture,
    DecodeGraphs,
    DecodeInputs,
    DecodeOutput,
    capture_plainly,
    on,
)
from serving.engine.cuda.llama import Llama, SafeTensors, Tensors
from serving.engine.cuda.llama_attention import Cache, DecodeAttention, PrefillAttention, Stretch
from serving.engine.cuda.llama_shape import LlamaShape, rotary_table, unsupported
from serving.engine.cuda.matrices import Bits
from serving.engine.end_tokens import end_tokens
from serving.engine.errors import DeviceFailed
from serving.engine.models_file import ModelSpec
from serving.engine.pooling import hidden_sums
from serving.engine.sampling.logprobs import batch_logprobs
from serving.engine.sampling.sampler import Sampler, SamplingRow
from serving.engine.saying import say

if TYPE_CHECKING:
    from serving.engine.core import Floats

_BITS: dict[str, Bits] = {"none": 16, "int8": 8, "int4": 4}
_SWITCH_SECONDS = 5e-5
_OLDEST = (8, 0)  # compute capability: bfloat16 on tensor cores


class CudaRunner:
    """A ``ModelRunner``. Its logic runs on any torch device; on a GPU through Triton and CUDA graphs."""

    @staticmethod
    def supports(config: Any, spec: ModelSpec, device: torch.device) -> str | None:
        """Why this runner cannot run ``spec`` with the transformers ``config``; None when it can."""
        if device.type != "cuda":
            return say("device %(device)s is not an NVIDIA GPU", device=device)
        if spec.device_map == "auto" and torch.cuda.device_count() > 1:
            return say('device_map "auto" shares the model among several GPUs; "cuda:0" would name one')
        if torch.cuda.get_device_capability(device) < _OLDEST:
            return say("%(device)s is older than Ampere", device=torch.cuda.get_device_name(device))
        if spec.dtype == "float32":
            return say("dtype float32 is not bfloat16 or float16")
        if importlib.util.find_spec("triton") is None:
            return say("the package triton is not installed")
        return unsupported(config, spec.quantization)

    @classmethod
    def from_pretrained(cls, folder: Path, spec: ModelSpec, device: torch.device) -> CudaRunner:
        """Load a folder with config.json and safetensors. Raises ModelLoadError when weights are missing."""
        # A prompt's kernels are launched one by one, and each launch may lose the GIL.
        sys.setswitchinterval(_SWITCH_SECONDS)
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        with SafeTensors(folder, getattr(torch, spec.dtype), device) as tensors:
            return cls(config, spec, tensors, device, end_tokens(folder, config))

    def __init__(
        self,
        config: Any,
        spec: ModelSpec,
        tensors: Tensors,
        device: torch.device,
        eos_token_ids: frozenset[int] = frozenset(),
        capture: Capture | None = None,
    ) -> None:
        """``capture``: CUDA graphs on a GPU and plain calls elsewhere, unless given."""
        self.name = spec.name
        self.vocab_size: int = config.vocab_size
        self.eos_token_ids = eos_token_ids
        self._device, self._dtype = device, getattr(torch, spec.dtype)
        self._capture = capture
        self._max_rows = spec.max_batch_size
        self._max_length: int = spec.max_model_len or config.max_position_embeddings
        self._shape = LlamaShape.of(config)
        self._sample = Sampler()
        with torch.inference_mode(), on(device):
            self._model = Llama(self._shape, tensors, _BITS[spec.quantization])
            self._rotary = rotary_table(config, self._max_length, device)

    def allocate(self, kv_blocks: int, block_size: int) -> None:
        """The cache, and the decode step for every size of batch. Takes seconds on a GPU."""
        self._block_size, self._scratch = block_size, kv_blocks
        width = min(-(-self._max_length // block_size), kv_blocks)
        try:
            with torch.inference_mode(), on(self._device):
                self._cache = Cache.empty(self._shape, kv_blocks + 1, block_size, self._dtype, self._device)
                self._inputs = DecodeInputs(self._max_rows, width, block_size, self._device)
                self._inputs.fill([], self._max_rows, self._scratch)
                self._graphs = DecodeGraphs(
                    self._decode_step, self._max_rows, self._capture or self._recorder()
                )
        except RuntimeError as error:  # what torch raises on the CPU; on a GPU a subclass of it
            gib = kv_blocks * block_size * self.kv_bytes_per_token() / 2**30
            raise MemoryError(
                say("The cache of %(gib)s GiB does not fit: lower kv_cache_mib.", gib=f"{gib:.1f}")
            ) from error

    def run(self, batch: Seq[BatchItem]) -> StepResult:
        try:
            with torch.inference_mode(), on(self._device):
                return self._run(batch)
        except torch.OutOfMemoryError as error:
            raise MemoryError("The GPU has no memory for this step.") from error
        except torch.AcceleratorError as error:
            raise DeviceFailed(f"The GPU failed: {str(error).splitlines()[0]}") from error

    def weight_bytes(self) -> int:
        return self._model.nbytes

    def bytes_read_per_step(self) -> int:
        """Bytes of weights that a decode step reads, however many sequences it has."""
        return self._model.bytes_read

    def kv_bytes_per_token(self) -> int:
        shape = self._shape
        return len(shape.windows) * shape.kv_heads * shape.head_dim * 2 * int(self._dtype.itemsize)

    def _recorder(self) -> Capture:
        return CudaCapture() if self._device.type == "cuda" else capture_plainly

    def _run(self, batch: Seq[BatchItem]) -> StepResult:
        decoding = [item for item in batch if _decodes(item)]
        prefilling = [item for item in batch if not _decodes(item)]
        logits: list[torch.Tensor] = []
        sums: dict[int, Floats] = {}
        if decoding:
            decoded = self._decode(decoding)
            if not prefilling and all(_is_plain_greedy(item) for item in batch):
                return StepResult(decoded.tokens[: len(batch)].tolist())
            logits.append(decoded.logits[: len(decoding)])
        if prefilling:
            hidden = self._prefill(prefilling)
            sums = self._pool(batch, prefilling, hidden)
            if needed := _rows_needed(prefilling):
                logits.append(self._model.logits(hidden[self._on_device(needed)]))
        if not logits:
            return StepResult([], hidden_sums=sums)
        result = self._finish(batch, [*decoding, *prefilling], torch.cat(logits))
        return replace(result, hidden_sums=sums)

    def _decode(self, items: Seq[BatchItem]) -> DecodeOutput:
        padded = self._graphs.padded(len(items))
        self._inputs.fill(items, padded, self._scratch)
        return self._graphs.replay(padded)

    def _decode_step(self, rows: int) -> DecodeOutput:
        """What a graph records."""
        inputs = self._inputs
        attention = DecodeAttention(
            self._shape, self._cache, self._rotary,
            inputs.positions[:rows], inputs.slots[:rows], inputs.tables[:rows],
        )  # fmt: skip
        logits = self._model.logits(self._model.hidden(inputs.tokens[:rows], attention))
        return DecodeOutput(logits, logits.argmax(dim=-1))

    def _prefill(self, items: Seq[BatchItem]) -> torch.Tensor:
        """(tokens, hidden) after the last layer, for all tokens of ``items`` in order."""
        stretches = [self._stretch(item) for item in items]
        tokens = [t for i in items for t in i.sequence.token_ids[i.start : i.start + i.length]]
        positions = [p for i in items for p in range(i.start, i.start + i.length)]
        attention = PrefillAttention(
            self._shape, self._cache, self._rotary, self._on_device(positions),
            torch.cat([stretch.seen[stretch.start :] for stretch in stretches]), stretches,
        )  # fmt: skip
        return self._model.hidden(self._on_device(tokens), attention)

    def _pool(
        self, batch: Seq[BatchItem], prefilling: Seq[BatchItem], hidden: torch.Tensor
    ) -> dict[int, Floats]:
        if not any(item.pooled for item in prefilling):
            return {}
        sums = hidden_sums(prefilling, _first_rows(prefilling), self._model.normed(hidden))
        places = {id(item): place for place, item in enumerate(batch)}
        return {places[id(prefilling[index])]: summed for index, summed in sums.items()}

    def _stretch(self, item: BatchItem) -> Stretch:
        end = item.start + item.length
        table = self._on_device(item.sequence.block_table)
        places = torch.arange(end, device=self._device)
        seen = table[places // self._block_size] * self._block_size + places % self._block_size
        return Stretch(item.start, item.length, seen)

    def _finish(self, batch: Seq[BatchItem], order: Seq[BatchItem], logits: torch.Tensor) -> StepResult:
        """Sample, and report logprobs. ``logits``: the rows of decoding items, then those that prefilling
        ones need, as ``order`` says."""
        counts = [1 if _decodes(item) else len(item.needed) for item in order]
        firsts = accumulate(counts, initial=0)
        first_of = {id(item): first for item, first in zip(order, firsts, strict=False)}
        rows = [first_of[id(item)] + row for item in batch for row in range(len(item.needed))]
        if rows != list(range(len(logits))):
            logits = logits[self._on_device(rows)]
        ends = list(accumulate(len(item.needed) for item in batch))
        sampling = [(end - 1, item) for end, item in zip(ends, batch, strict=True) if item.samples]
        wanted = [SamplingRow.of(item) for _, item in sampling]
        sampled = self._sample(logits[[row for row, _ in sampling]], wanted) if sampling else []
        return StepResult(sampled, batch_logprobs(batch, logits, ends, sampled))

    def _on_device(self, numbers: list[int]) -> torch.Tensor:
        return torch.tensor(numbers, device=self._device, dtype=torch.int64)


def _decodes(item: BatchItem) -> bool:
    """Whether a recorded step can compute it: one token, of which only logits are wanted."""
    return item.length == 1 and item.sequence.request.pooling is None


def _first_rows(items: Seq[BatchItem]) -> list[int]:
    return list(accumulate((item.length for item in items), initial=0))[: len(items)]


def _rows_needed(items: Seq[BatchItem]) -> list[int]:
    """Of the items' tokens, one after the other, those that need logits."""
    return [first + row for first, item in zip(_first_rows(items), items, strict=True) for row in item.needed]


def _is_plain_greedy(item: BatchItem) -> bool:
    """Whether the most probable token is all that the step has to tell of ``item``."""
    sequence = item.sequence
    changed = sequence.adjustments is not None or sequence.grammar is not None
    return item.samples and sequence.params.temperature == 0 and not changed and not item.reported
