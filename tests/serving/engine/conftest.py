from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from serving.engine.loader import LoadedModel, load
from serving.engine.model_store import prepare
from serving.engine.models_file import ModelSpec, read_models_file

REPOSITORY = Path(__file__).parents[3]
MODELS_DIR = REPOSITORY / "var" / "models"


@pytest.fixture(scope="session")
def default_spec() -> ModelSpec:
    return read_models_file(REPOSITORY / "models.toml")[0]


@pytest.fixture(scope="session")
def model_folder(default_spec: ModelSpec) -> Path:
    """The default model on disk. Converted at the first use ever, found there afterwards."""
    return prepare(default_spec, MODELS_DIR, lambda label, fraction: None)


@pytest.fixture(scope="session")
def exact_model(default_spec: ModelSpec, model_folder: Path) -> LoadedModel:
    """The default model in float32 and not quantized, so that outputs can be compared exactly."""
    source = replace(default_spec.source, kind="path", location=str(model_folder))
    spec = replace(default_spec, source=source, dtype="float32", quantization="none", device_map="cpu")
    return load(spec, MODELS_DIR, lambda label, fraction: None)
