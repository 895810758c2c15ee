"""Weights from safetensors into the packed int8 or int4 matrices of the native runner.

Tensors are read a few megabytes at a time and packed on the way, so that loading never holds more than
the quantized weights and a small buffer. The formats are described in ``kernels/matrix.h``:

    int8  one scale for each output: 8 bits a weight
    int4  codes of 4 bits with a step and a zero for each 32 inputs, decoded to the same int8 grid: 4.75 bits
"""

from __future__ import annotations

import ctypes
import json
import os
from collections.abc import Sequence as Seq
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from serving.engine.errors import EngineError
from serving.engine.native.kernels.binding import Matrix

Floats = npt.NDArray[np.float32]
Bits = Literal[4, 8]

BLOCK = 32  # outputs that are packed together
_LANES = 16
_READ_BYTES = 4 * 2**20
_ALIGNMENT = 64


class CheckpointError(EngineError):
    """The folder's safetensors lack what the model needs."""


@dataclass(frozen=True, slots=True)
class _Entry:
    file: Path
    offset: int
    dtype: str
    shape: tuple[int, ...]


class Checkpoint:
    """The tensors of a folder's ``*.safetensors``, read in pieces as float32."""

    def __init__(self, folder: Path) -> None:
        """Raises CheckpointError when there are none."""
        self._entries: dict[str, _Entry] = {}
        for file in sorted(folder.glob("*.safetensors")):
            self._entries |= _entries(file)
        if not self._entries:
            raise CheckpointError(f"{folder} holds no safetensors.")

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def shape(self, name: str) -> tuple[int, ...]:
        """Raises CheckpointError when there is no such tensor."""
        if name not in self._entries:
            raise CheckpointError(f"The weights lack {name}.")
        return self._entries[name].shape

    def vector(self, name: str) -> Floats:
        self.shape(name)
        entry = self._entries[name]
        return _read(entry, 0, entry.shape[0])

    def rows(self, name: str, first: int, count: int) -> Floats:
        """Rows of a matrix, shape (count, columns)."""
        entry = self._entries[name]
        columns = entry.shape[1]
        return _read(entry, first * columns, count * columns).reshape(count, columns)


def _entries(file: Path) -> dict[str, _Entry]:
    """The header of a safetensors file: 8 bytes of length, JSON, then the data."""
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length))
    return {
        name: _Entry(file, 8 + length + tensor["data_offsets"][0], tensor["dtype"], tuple(tensor["shape"]))
        for name, tensor in header.items()
        if name != "__metadata__"
    }


_DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}


def _read(entry: _Entry, first: int, count: int) -> Floats:
    if entry.dtype not in _DTYPES:
        raise CheckpointError(f"Weights of type {entry.dtype} are not float32, float16 or bfloat16.")
    dtype = _DTYPES[entry.dtype]
    with entry.file.open("rb") as stream:
        stream.seek(entry.offset + first * dtype.itemsize)
        raw: npt.NDArray[Any] = np.fromfile(stream, dtype, count)
    if entry.dtype == "BF16":
        raw = (raw.astype(np.uint32) << 16).view(np.float32)
    return raw.astype(np.float32, copy=False)


@dataclass(frozen=True, slots=True)
class Part:
    """Rows [first, first + count) of tensor ``name``, to become outputs from ``output`` on: all in one run,
    or, where ``turns`` tensors take turns, 16 rows a turn."""

    name: str
    first: int
    count: int
    output: int
    turns: int = 1

    @property
    def end(self) -> int:
        """The output after the last."""
        return self.output + self.count + (self.turns - 1) * (self.count - _LANES)


def stacked(checkpoint: Checkpoint, names: Seq[str]) -> list[Part]:
    """Whole tensors one below the other."""
    parts: list[Part] = []
    output = 0
    for name in names:
        count = checkpoint.shape(name)[0]
        parts.append(Part(name, 0, count, output))
        output += count
    return parts


def alternating(checkpoint: Checkpoint, gate: str, up: str) -> list[Part]:
    """Two tensors in turns of 16 rows: a block then has what it needs to compute silu(gate) * up."""
    return [
        Part(name, 0, checkpoint.shape(name)[0], turn * _LANES, turns=2)
        for turn, name in enumerate((gate, up))
    ]


class Quantizer:
    """Packs matrices of a checkpoint and owns the memory they lie in."""

    def __init__(self, library: ctypes.CDLL, checkpoint: Checkpoint) -> None:
        self._library = library
        self._checkpoint = checkpoint
        self._held: list[npt.NDArray[np.uint8]] = []

    @property
    def bytes_held(self) -> int:
        return sum(memory.nbytes for memory in self._held)

    def vector(self, values: Floats) -> int:
        """A copy of ``values``; its address."""
        memory = self._reserve(values.nbytes)
        memory[: values.nbytes] = values.astype(np.float32).view(np.uint8)
        return memory.ctypes.data

    def matrix(self, parts: Seq[Part], bits: Bits, *, biases: Seq[str] = (), gated: bool = False) -> Matrix:
        """Read and pack ``parts``. Raises CheckpointError."""
        inputs = self._checkpoint.shape(parts[0].name)[1]
        outputs = max(part.end for part in parts)
        padded = -(-outputs // BLOCK) * BLOCK
        records = self._reserve(self._library.matrix_bytes(outputs, inputs, bits))
        matrix = Matrix(
            outputs, inputs, bits, gated, records.ctypes.data, self.vector(np.zeros(padded, "f4")), None
        )
        if biases:
            joined = np.concatenate([self._checkpoint.vector(name) for name in biases])
            matrix.bias = self.vector(np.pad(joined, (0, padded - outputs)))
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(lambda part: self._pack(matrix, part), self._pieces(parts, inputs)))
        return matrix

    def _pieces(self, parts: Seq[Part], inputs: int) -> list[Part]:
        rows = max(_READ_BYTES // (4 * inputs * _LANES), 1) * _LANES
        return [
            replace(
                part,
                first=part.first + skip,
                count=min(rows, part.count - skip),
                output=part.output + skip * part.turns,
            )
            for part in parts
            for skip in range(0, part.count, rows)
        ]

    def _pack(self, matrix: Matrix, part: Part) -> None:
        weights = self._checkpoint.rows(part.name, part.first, part.count)
        run = part.count if part.turns == 1 else _LANES
        for row in range(0, part.count, run):
            rows, output = weights[row : row + run], part.output + row * part.turns
            self._library.pack_rows(ctypes.byref(matrix), rows.ctypes.data, output, len(rows))

    def _reserve(self, size: int) -> npt.NDArray[np.uint8]:
        """Zeros at an address that whole vectors can be read from."""
        memory = np.zeros(size + _ALIGNMENT, np.uint8)
        skip = -memory.ctypes.data % _ALIGNMENT
        self._held.append(memory)
        return memory[skip : skip + size]
