"""Compiling the C library."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from serving.engine.native.kernels import build as build_module
from serving.engine.native.kernels.build import KernelError, build

KERNELS = Path(__file__).parents[4] / "var" / "kernels"


def test_a_library_is_built_once() -> None:
    library = build(KERNELS)
    made = library.stat().st_mtime_ns
    assert build(KERNELS) == library
    assert library.stat().st_mtime_ns == made


def test_processors_do_not_share_a_library() -> None:
    assert build(KERNELS) != build(KERNELS, "baseline")


def test_a_compiler_error_is_one_line_that_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_module, "_FLAGS", (*build_module._FLAGS, "-include", "missing.h"))
    with pytest.raises(KernelError, match=r"missing\.h.*not found") as caught:
        build(tmp_path)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    with pytest.raises(KernelError, match="cannot be written"):
        build(in_the_way / "kernels")


def test_without_the_compiler_the_package_to_install_is_named(tmp_path: Path) -> None:
    hide = "import sys; sys.modules['ziglang'] = None\n"
    code = (
        hide
        + "from pathlib import Path; from serving.engine.native.kernels.build import build;"
        + " build(Path(sys.argv[1]))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[4])},
    )
    assert "pip install ziglang" in run.stderr
