"""Weight matrices as the GPU runner keeps them: 16 bits as they come, 8 or 4 bits quantized.

    int8  one scale for each output: 8 bits a weight
    int4  a step and a minimum for each group of 64 inputs: 4.5 bits a weight; of 32 in narrow rows: 5 bits

bitsandbytes' formats are not used here: its 4-bit kernels unpack the whole matrix at every step with more
than one sequence, and its 8-bit ones look at the activations on the CPU, which no CUDA graph can record.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch.nn import functional

Bits = Literal[4, 8, 16]

_CHUNK_WEIGHTS = 2**24
# Small models have less to spare: with groups of 64 SmolLM2-135M loses 7 % of perplexity.
_WIDE = 2048
# Clipping a group's range a little makes the steps finer; which of these is best is tried for each group.
_SHRINKS = (1.0, 0.95, 0.9, 0.85, 0.8)


@dataclass(frozen=True, slots=True)
class Matrix:
    """A linear map from ``inputs`` to ``outputs``, with an optional bias.

    ``weight`` by ``bits``: 16 (outputs, inputs), a float type; 8 the same, int8; 4 (outputs, inputs / 2),
    uint8 that holds column j in its low and column ``inputs / 2 + j`` in its high half. ``scales`` are
    (outputs,) for 8 bits, (outputs, inputs / group, 2) with step and minimum of each group for 4, and empty
    for 16.
    """

    bits: Bits
    inputs: int
    outputs: int
    weight: torch.Tensor
    scales: torch.Tensor
    bias: torch.Tensor | None = None

    @classmethod
    def of(cls, weight: torch.Tensor, bits: Bits, bias: torch.Tensor | None = None) -> Matrix:
        """From a float ``weight`` (outputs, inputs), kept as it is with 16 bits."""
        outputs, inputs = weight.shape
        if bits == 16:
            return cls(bits, inputs, outputs, weight, weight.new_empty(0), bias)
        step = max(_CHUNK_WEIGHTS // inputs, 1)
        quantize = _to_int8 if bits == 8 else _to_int4
        parts = [quantize(weight[row : row + step]) for row in range(0, outputs, step)]
        codes, scales = (torch.cat(kind) for kind in zip(*parts, strict=True))
        return cls(bits, inputs, outputs, codes, scales, bias)

    @property
    def group(self) -> int:
        """Inputs that share a scale."""
        return self.inputs // self.scales.shape[1] if self.bits == 4 else self.inputs

    @property
    def nbytes(self) -> int:
        bias = 0 if self.bias is None else self.bias.nbytes
        return int(self.weight.nbytes + self.scales.nbytes + bias)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """(rows, inputs) to (rows, outputs), through the plain weights."""
        return functional.linear(x, self.dense(), self.bias)

    def dense(self) -> torch.Tensor:
        """The plain weights (outputs, inputs)."""
        if self.bits == 16:
            return self.weight
        if self.bits == 8:
            return self.weight.to(self.scales.dtype) * self.scales[:, None]
        codes = torch.cat((self.weight & 15, self.weight >> 4), dim=-1).view(self.outputs, -1, self.group)
        step, minimum = self.scales.split(1, dim=-1)
        return (codes * step + minimum).flatten(1)

    def rows(self, index: torch.Tensor) -> torch.Tensor:
        """Plain rows, for a matrix of 16 or 8 bits that is an embedding too."""
        picked = self.weight[index]
        return picked if self.bits == 16 else picked.to(self.scales.dtype) * self.scales[index, None]


def _to_int8(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    scales = (weight.float().abs().amax(dim=-1) / 127).clamp(min=1e-6).to(weight.dtype)
    codes = (weight.float() / scales.float()[:, None]).round().clamp(-127, 127).to(torch.int8)
    return codes, scales


def _to_int4(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    outputs, inputs = weight.shape
    group = 64 if inputs >= _WIDE and inputs % 128 == 0 else 32
    grouped = weight.float().view(outputs, -1, group)
    low, high = grouped.amin(dim=-1, keepdim=True), grouped.amax(dim=-1, keepdim=True)
    best = torch.full_like(low, torch.inf)
    codes = torch.zeros_like(grouped, dtype=torch.uint8)
    scales, minima = torch.zeros_like(low), torch.zeros_like(low)
    for shrink in _SHRINKS:
        step = ((high - low) * (shrink / 15)).clamp(min=1e-6).to(weight.dtype).float()
        floor = (low + (high - low) * ((1 - shrink) / 2)).to(weight.dtype).float()
        tried = ((grouped - floor) / step).round_().clamp_(0, 15)
        error = (tried * step + floor - grouped).square_().sum(dim=-1, keepdim=True)
        better = error < best
        best = torch.where(better, error, best)
        codes = torch.where(better, tried.to(torch.uint8), codes)
        scales, minima = torch.where(better, step, scales), torch.where(better, floor, minima)
    low_half, high_half = codes.view(outputs, inputs).chunk(2, dim=-1)
    return low_half | high_half << 4, torch.cat((scales, minima), dim=-1).to(weight.dtype)
