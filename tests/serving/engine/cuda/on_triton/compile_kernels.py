"""Compiles every kernel of a Llama-3-8B decode step for real GPUs, which takes none: what a
launch would compile is compiled instead of launched. Prints a line each: kernel, GPU, registers, shared
memory, spilled bytes.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.backends.nvidia.compiler import get_ptxas
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

from serving.engine.cuda import triton_attention, triton_matrices
from serving.engine.cuda.matrices import Bits, Matrix

CAPABILITIES = (80, 90)
TYPES = {
    torch.bfloat16: "*bf16", torch.float32: "*fp32", torch.int32: "*i32", torch.int8: "*i8",
    torch.uint8: "*u8",
}  # fmt: skip
HALF = torch.bfloat16
HIDDEN, WIDTH = 4096, 128
compiled: set[str] = set()


def compile_instead(kernel: Any, *args: Any, grid: Any, **options: Any) -> None:
    """In place of ``JITFunction.run``."""
    values = dict(zip(kernel.arg_names, args, strict=False))
    values |= {name: options.pop(name) for name in kernel.arg_names if name in options}
    signature, constants, hints = {}, {}, {}
    for index, parameter in enumerate(kernel.params):
        value = values[parameter.name]
        if parameter.is_constexpr:
            signature[parameter.name], constants[(index,)] = "constexpr", value
        elif isinstance(value, torch.Tensor):
            signature[parameter.name], hints[(index,)] = TYPES[value.dtype], [["tt.divisibility", 16]]
        else:
            signature[parameter.name] = "fp32" if isinstance(value, float) else "i32"
    if (key := f"{kernel.__name__} {signature} {constants}") in compiled:
        return
    compiled.add(key)
    for capability in CAPABILITIES:
        source = ASTSource(kernel, signature, constants, hints)
        result = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
        registers, spills = assembled(result.asm["ptx"], capability)
        shared = result.metadata.shared
        line = f"sm_{capability} registers {registers} shared {shared} spills {spills}\n"
        sys.stdout.write(f"{kernel.__name__} {line}")


def assembled(ptx: str, capability: int) -> tuple[str, str]:
    """What the assembler says of registers and bytes spilled."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "kernel.ptx")
        source.write_text(ptx, encoding="utf-8")
        architecture = f"-arch=sm_{capability}" + "a" * (capability >= 90)
        command = [
            get_ptxas(capability).path,
            "-v",
            architecture,
            str(source),
            "-o",
            str(Path(folder, "kernel.cubin")),
        ]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    registers, spills = re.search(r"Used (\d+) registers", told), re.search(r"(\d+) bytes spill stores", told)
    return (registers[1] if registers else "?"), (spills[1] if spills else "?")


def matrix(outputs: int, inputs: int, bits: Bits) -> Matrix:
    sizes = {16: (inputs, HALF), 8: (inputs, torch.int8), 4: (inputs // 2, torch.uint8)}
    width, dtype = sizes[bits]
    scales = torch.empty(outputs, *((inputs // 64, 2) if bits == 4 else ()), dtype=HALF)
    return Matrix(bits, inputs, outputs, torch.empty(outputs, width, dtype=dtype), scales)


def launch_everything() -> None:
    every: tuple[Bits, ...] = (16, 8, 4)
    row = torch.empty(1, HIDDEN, dtype=HALF)
    for bits in every:
        triton_matrices.matvec(row, matrix(6144, HIDDEN, bits), norm=row, epsilon=1e-5)
        triton_matrices.matvec(row, matrix(HIDDEN, HIDDEN, bits), residual=row)
        triton_matrices.matvec(row, matrix(2 * 14336, HIDDEN, bits), norm=row, epsilon=1e-5, gated=True)
    for bits in every[1:]:
        for rows in (2, 32, 64, 512):
            triton_matrices.matmul(torch.empty(rows, HIDDEN, dtype=HALF), matrix(6144, HIDDEN, bits))
    cache = torch.empty(10, 16, 8, WIDTH, dtype=HALF)
    places, tables = torch.empty(2, dtype=torch.int32), torch.empty(2, 512, dtype=torch.int32)
    qkv, rotary = torch.empty(2, 48 * WIDTH, dtype=HALF), torch.empty(2, 8192, WIDTH // 2)
    for norms in (None, (row, row)):
        triton_attention.rotate_and_keep(qkv, norms, 1e-5, rotary, places, places, cache, cache, 32)
    queries = torch.empty(2, 32, WIDTH, dtype=HALF)
    for window, splits in ((0, 1), (0, 32), (4096, 1)):
        triton_attention.attend(queries, cache, cache, tables, places, window, splits)


if __name__ == "__main__":
    JITFunction.run = compile_instead
    launch_everything()
