"""Quantized weights stay faithful to those they were made from."""

from __future__ import annotations

import ctypes
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from benchmarks.fidelity import WINDOW, measure, windows
from serving.engine.native.kernels.binding import load_library
from serving.engine.native.quantize import (
    Bits,
    Checkpoint,
    CheckpointError,
    Floats,
    Part,
    Quantizer,
    alternating,
    stacked,
)
from serving.engine.native.runner import NativeRunner
from tests.serving.engine.conftest import REPOSITORY

pytestmark = pytest.mark.slow

KERNELS = REPOSITORY / "var" / "kernels"


def unpacked(
    weights: dict[str, torch.Tensor],
    names: list[str],
    bits: Bits,
    folder: Path,
    arrange: Callable[[Checkpoint, list[str]], list[Part]] = stacked,
) -> Floats:
    """What the packed matrix of ``names`` decodes to."""
    save_file(weights, folder / "model.safetensors")
    library = load_library(KERNELS)
    checkpoint = Checkpoint(folder)
    quantizer = Quantizer(library, checkpoint)
    matrix = quantizer.matrix(arrange(checkpoint, names), bits)
    decode = library.matrix_row
    decode.restype, decode.argtypes = None, [ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p]
    rows = np.empty((matrix.outputs, matrix.inputs), np.float32)
    for index, row in enumerate(rows):
        decode(ctypes.byref(matrix), index, row.ctypes.data)
    return rows


def test_int8_is_off_by_at_most_half_a_step(tmp_path: Path) -> None:
    weights = torch.randn(70, 128)
    rows = unpacked({"w": weights}, ["w"], 8, tmp_path)
    step = weights.abs().amax(1, keepdim=True).numpy() / 127
    assert (np.abs(rows - weights.numpy()) <= step * 0.501).all()


def test_int4_is_off_by_at_most_half_a_level_of_its_group(tmp_path: Path) -> None:
    weights = torch.randn(64, 192)
    rows = unpacked({"w": weights}, ["w"], 4, tmp_path)
    groups = weights.view(64, 6, 32)
    level = (groups.amax(2, keepdim=True) - groups.amin(2, keepdim=True)) / 15
    grid = weights.abs().amax(1).view(64, 1, 1) / 127
    error = torch.from_numpy(rows).view(64, 6, 32) - groups
    assert (error.abs() <= level * 0.6 + grid * 1.6).all()
    assert error.square().mean() < (level.square().mean() / 12 + grid.square().mean() / 12) * 1.3


def test_weights_that_were_4_bit_before_come_through_int4_as_through_int8(tmp_path: Path) -> None:
    torch.manual_seed(1)
    scale, low = torch.rand(32, 8, 1) * 0.01 + 0.005, -torch.rand(32, 8, 1) * 0.1
    codes = torch.randint(0, 16, (32, 8, 32))
    codes[..., 0], codes[..., 1] = 0, 15  # what made them spread its levels from the least to the greatest
    weights = (codes * scale + low).reshape(32, 256)
    error4 = unpacked({"w": weights}, ["w"], 4, tmp_path) - weights.numpy()
    error8 = unpacked({"w": weights}, ["w"], 8, tmp_path) - weights.numpy()
    assert np.square(error4).mean() < 2.5 * np.square(error8).mean()


@pytest.mark.parametrize("value", [0.0, 1.0, -3.0])
@pytest.mark.parametrize("bits", [4, 8])
def test_rows_of_one_value_are_kept(tmp_path: Path, value: float, bits: Bits) -> None:
    rows = unpacked({"w": torch.full((33, 64), value)}, ["w"], bits, tmp_path)
    assert np.abs(rows - value).max() <= 0.011 * abs(value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_every_float_type_is_read(tmp_path: Path, dtype: torch.dtype) -> None:
    weights = torch.randn(32, 64).to(dtype)
    rows = unpacked({"w": weights}, ["w"], 8, tmp_path)
    assert np.abs(rows - weights.float().numpy()).max() < 0.02


def test_matrices_are_stacked_in_order(tmp_path: Path) -> None:
    a, b = torch.ones(32, 64), torch.full((32, 64), 2.0)
    rows = unpacked({"a": a, "b": b}, ["b", "a"], 8, tmp_path)
    assert rows[:, 0].round().tolist() == [2.0] * 32 + [1.0] * 32


def test_matrices_alternate_by_sixteens(tmp_path: Path) -> None:
    """Also where they are read in several pieces."""
    numbers = torch.arange(20_000.0) % 97 + 1
    weights = {name: (sign * numbers)[:, None].repeat(1, 64) for name, sign in (("a", 1), ("b", -1))}
    rows = unpacked(
        weights, ["a", "b"], 8, tmp_path, lambda checkpoint, names: alternating(checkpoint, *names)
    )
    expected = torch.stack([numbers.view(-1, 16), -numbers.view(-1, 16)], dim=1).flatten()
    assert rows[:, 0].round().tolist() == expected.tolist()


def test_a_folder_without_safetensors_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no safetensors"):
        Checkpoint(tmp_path)


def test_other_types_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="I64"):
        unpacked({"w": torch.ones(32, 64, dtype=torch.int64)}, ["w"], 8, tmp_path)


def check_fidelity(rows: Mapping[str, Mapping[str, Any]]) -> None:
    assert abs(rows["int8"]["perplexity_change"]) < 0.02
    assert abs(rows["int4"]["perplexity_change"]) < 0.05
    assert min(rows["int8"]["agreement"], rows["int4"]["agreement"]) > 0.9
    assert max(rows["int8"]["kl"], rows["int4"]["kl"]) < 0.03


def test_perplexity_stays_within_2_percent_in_int8_and_5_in_int4(
    model_folder: Path, reference_model: Any, native_runner: Callable[[str], NativeRunner]
) -> None:
    """On the beginning of the text that benchmarks.fidelity goes through."""
    runners = {kind: native_runner(kind) for kind in ("int8", "int4")}
    rows = measure(reference_model, runners, windows(model_folder, WINDOW))
    check_fidelity({row.case: asdict(row) for row in rows})


def test_so_it_was_when_last_measured_on_the_whole_text() -> None:
    recorded = json.loads((REPOSITORY / "benchmarks" / "results" / "fidelity.json").read_text())
    rows = {row["case"]: row for row in recorded["rows"]}
    assert all(row["tokens"] >= 20_000 for row in rows.values())
    check_fidelity(rows)
