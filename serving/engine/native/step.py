"""A batch as the C library takes it, and its answer as the engine takes it."""

from __future__ import annotations

from array import array
from collections.abc import Sequence as Seq

import numpy as np
import numpy.typing as npt

from serving.engine.core import BatchItem, StepResult, TokenLogprobs
from serving.engine.native.kernels.binding import Batch, Choice, Pooled, Report, Slice


class NativeStep:
    """Holds the memory that ``structure`` points at."""

    def __init__(self, batch: Seq[BatchItem], hidden: int, logits: int | None = None) -> None:
        """``hidden``: the model's width. ``logits``: the address of float32 (all tokens of the batch,
        vocabulary), to get these instead."""
        self._batch = batch
        self._tokens, self._blocks = array("i"), array("i")
        self._slices = (Slice * len(batch))()
        self._reports: dict[int, _Reported] = {}
        self._hidden = hidden
        self._hidden_sums: dict[int, npt.NDArray[np.float32]] = {}
        for item in batch:
            self._tokens.extend(item.sequence.token_ids[item.start : item.start + item.length])
            self._blocks.extend(item.sequence.block_table)
        blocks = self._blocks.buffer_info()[0]
        for index, item in enumerate(batch):
            self._fill(index, item, blocks)
            blocks += self._blocks.itemsize * len(item.sequence.block_table)
        self.num_tokens = len(self._tokens)
        address = self._tokens.buffer_info()[0]
        self.structure = Batch(len(batch), self.num_tokens, self._slices, address, logits)

    def result(self) -> StepResult:
        """After the library has run ``structure``. Raises MemoryError."""
        tokens = [int(s.token) for s, item in zip(self._slices, self._batch, strict=True) if item.samples]
        if tokens and min(tokens) < 0:
            raise MemoryError("There is no memory to sample.")
        logprobs = {index: reported.read() for index, reported in self._reports.items()}
        return StepResult(tokens, logprobs, self._hidden_sums)

    def _fill(self, index: int, item: BatchItem, blocks: int) -> None:
        s, params = self._slices[index], item.sequence.params
        s.start, s.length, s.samples, s.blocks = item.start, item.length, item.samples, blocks
        if item.samples:
            s.choice = _choice(item)
        if (params.logprobs is not None or params.prompt_logprobs is not None) and item.reported:
            self._reports[index] = _Reported(item)
            s.report = self._reports[index].structure
        if rows := item.pooled:
            self._hidden_sums[index] = np.empty(self._hidden, np.float32)
            s.pooled = Pooled(rows.start, len(rows), self._hidden_sums[index].ctypes.data)


def _choice(item: BatchItem) -> Choice:
    sequence, params = item.sequence, item.sequence.params
    choice = Choice(
        sequence.seed,
        item.start + item.length,
        params.temperature,
        params.top_p,
        params.min_p,
        params.top_k,
    )
    # The sequence holds this memory, and nobody changes it during a step.
    if (changes := sequence.adjustments) is not None:
        choice.adjusted, choice.ids = len(changes.ids), changes.ids.buffer_info()[0]
        choice.factors, choice.offsets = changes.factors.buffer_info()[0], changes.offsets.buffer_info()[0]
    if sequence.grammar is not None:
        choice.allowed = sequence.grammar.allowed().ctypes.data
    return choice


class _Reported:
    """Room for the logprobs of one item."""

    def __init__(self, item: BatchItem) -> None:
        rows, top = item.reported, item.top_logprobs
        self._ids = np.empty((len(rows), 1 + top), np.int32)
        self._logprobs = np.empty((len(rows), 1 + top), np.float32)
        following = -1 if item.samples else item.sequence.token_ids[item.start + item.length]
        self.structure = Report(
            rows.start, len(rows), top, following, self._ids.ctypes.data, self._logprobs.ctypes.data
        )

    def read(self) -> list[TokenLogprobs]:
        ranked = zip(self._ids.tolist(), self._logprobs.tolist(), strict=True)
        return [
            TokenLogprobs(ids[0], logprobs[0], tuple(zip(ids[1:], logprobs[1:], strict=True)))
            for ids, logprobs in ranked
        ]
