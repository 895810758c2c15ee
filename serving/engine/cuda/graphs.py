"""One decode step as something that is recorded once and replayed: static inputs, static shapes.

Launching some 300 kernels one by one takes longer than they run, and gives the GIL away 300 times. A CUDA
graph launches them all in one call. It can only repeat itself, so the inputs are copied to where it
read them when it was recorded, and batches are padded to one of a few sizes.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from collections.abc import Sequence as Seq
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

from serving.engine.core import BatchItem


@dataclass(frozen=True, slots=True)
class DecodeOutput:
    """``logits`` (rows, vocabulary) and the most probable ``tokens`` (rows,)."""

    logits: torch.Tensor
    tokens: torch.Tensor


Replay = Callable[[], DecodeOutput]
# Turns a step into its replay. A replay's output holds until the next replay of any size.
Capture = Callable[[Replay], Replay]


class DecodeInputs:
    """What a decode step reads, in one buffer on the device: token ids, positions, slots, block tables.
    They never move. ``fill`` copies from a mirror on the host in one go."""

    def __init__(self, rows: int, table_width: int, block_size: int, device: torch.device) -> None:
        self._block_size = block_size
        sizes = (rows, rows, rows, rows * table_width)
        self._host = torch.zeros(sum(sizes), dtype=torch.int32, pin_memory=device.type == "cuda")
        self._device = self._host.to(device, copy=True)
        mirrored = self._host.numpy()
        self._tokens, self._positions, self._slots = mirrored[: 3 * rows].reshape(3, rows)
        self._tables = mirrored[3 * rows :].reshape(rows, table_width)
        self.tokens, self.positions, self.slots, tables = self._device.split(sizes)
        self.tables = tables.view(rows, table_width)

    def fill(self, items: Seq[BatchItem], rows: int, scratch_block: int) -> None:
        """One row for each item, and up to ``rows`` ones that compute a token nobody reads, alone in
        ``scratch_block``. The step before must have ended, for the copy is still read until then."""
        for row, item in enumerate(items):
            table = item.sequence.block_table
            self._tokens[row] = item.sequence.token_ids[item.start]
            self._positions[row] = item.start
            self._slots[row] = (
                table[item.start // self._block_size] * self._block_size + item.start % self._block_size
            )
            self._tables[row, : len(table)] = array("i", table)
        padding = slice(len(items), rows)
        self._tokens[padding] = self._positions[padding] = 0
        self._slots[padding] = scratch_block * self._block_size
        self._tables[padding, 0] = scratch_block
        self._device.copy_(self._host, non_blocking=True)


class DecodeGraphs:
    """``step(rows)`` recorded for 1, 2, 4, 8 ... ``max_rows`` rows."""

    def __init__(self, step: Callable[[int], DecodeOutput], max_rows: int, capture: Capture) -> None:
        self.sizes = padded_sizes(max_rows)
        # The largest first: the smaller ones find room in the memory that it has used.
        self._replays = {rows: _capture_size(step, rows, capture) for rows in reversed(self.sizes)}

    def padded(self, rows: int) -> int:
        """The smallest recorded size with room for ``rows``."""
        return next(size for size in self.sizes if size >= rows)

    def replay(self, padded: int) -> DecodeOutput:
        return self._replays[padded]()


def padded_sizes(max_rows: int) -> list[int]:
    """Powers of two below ``max_rows``, and itself."""
    powers = (2**exponent for exponent in range(max_rows.bit_length()))
    return [*(power for power in powers if power < max_rows), max_rows]


def capture_plainly(step: Replay) -> Replay:
    """For devices without graphs: a replay is the step itself."""
    return step


class CudaCapture:
    """Records CUDA graphs that share one pool of memory, for they never run at the same time."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, step: Replay) -> Replay:
        # Once before recording: kernels are compiled and libraries take their workspaces, which no
        # recording may contain.
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            step()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            output = step()

        def replay() -> DecodeOutput:
            graph.replay()
            return output

        return replay


def on(device: torch.device) -> AbstractContextManager[None]:
    """Makes ``device`` the one that kernels are launched on, in this thread."""
    context: AbstractContextManager[None] = (
        torch.cuda.device(device) if device.type == "cuda" else nullcontext()
    )
    return context


def _capture_size(step: Callable[[int], DecodeOutput], rows: int, capture: Capture) -> Replay:
    return capture(lambda: step(rows))
