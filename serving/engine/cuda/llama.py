"""Llama-shaped models in torch, for the fast GPU runner. Query, key and value are one matrix, gate and up
another. Weights come from safetensors, read straight to the device, or are random for benchmarks.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import torch
from safetensors import safe_open
from torch.nn import functional

from serving.engine.cuda.fused import gated, linear_add, norm_linear
from serving.engine.cuda.llama_attention import Attention, HeadNorms
from serving.engine.cuda.llama_shape import LlamaShape
from serving.engine.cuda.matrices import Bits, Matrix
from serving.engine.errors import ModelLoadError
from serving.engine.saying import say


class Tensors(Protocol):
    """Where weights come from, by the names that Hugging Face gives them."""

    def get(self, name: str, *size: int) -> torch.Tensor:
        """On the device, of the model's dtype. Raises ModelLoadError if it is not there in this size."""


class SafeTensors:
    """The weights in a folder's ``*.safetensors``: a context manager, open for as long as it is used."""

    def __init__(self, folder: Path, dtype: torch.dtype, device: torch.device) -> None:
        self._dtype, self._folder = dtype, folder
        self._files = ExitStack()
        self._where: dict[str, Any] = {}
        for path in sorted(folder.glob("*.safetensors")):
            file = self._files.enter_context(safe_open(path, framework="pt", device=str(device)))
            self._where.update(dict.fromkeys(file.keys(), file))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._files.close()

    def get(self, name: str, *size: int) -> torch.Tensor:
        if name not in self._where:
            raise ModelLoadError(
                say("The weights in %(folder)s lack %(name)s.", folder=self._folder, name=name)
            )
        tensor: torch.Tensor = self._where[name].get_tensor(name)
        if tensor.shape != size:
            raise ModelLoadError(
                say(
                    "%(name)s is %(found)s, not %(wanted)s as the config says.",
                    name=name,
                    found=tuple(tensor.shape),
                    wanted=size,
                )
            )
        return tensor.to(self._dtype)


class RandomTensors:
    """Weights of no meaning, as large as real ones: what a benchmark of speed needs."""

    def __init__(self, dtype: torch.dtype, device: torch.device, seed: int = 0) -> None:
        self._dtype, self._device = dtype, device
        self._generator = torch.Generator(device).manual_seed(seed)

    def get(self, name: str, *size: int) -> torch.Tensor:
        if name.endswith("norm.weight"):
            return torch.ones(size, dtype=self._dtype, device=self._device)
        weights = torch.empty(size, dtype=self._dtype, device=self._device)
        return weights.normal_(std=0.02, generator=self._generator)


@dataclass(frozen=True, slots=True)
class Layer:
    attention_norm: torch.Tensor
    qkv: Matrix
    head_norms: HeadNorms | None
    out: Matrix
    mlp_norm: torch.Tensor
    gate_up: Matrix
    down: Matrix


class Llama:
    """The weights, and one forward pass over packed tokens."""

    def __init__(self, shape: LlamaShape, tensors: Tensors, bits: Bits) -> None:
        self.shape = shape
        builder = _Builder(shape, tensors, bits)
        self._layers = [builder.layer(f"model.layers.{index}.") for index in range(len(shape.windows))]
        self._norm = tensors.get("model.norm.weight", shape.hidden)
        self._embedding, self._head = builder.ends()

    @property
    def nbytes(self) -> int:
        held = {matrix.weight.data_ptr(): matrix.nbytes for matrix in self._matrices()}
        norms = [self._norm, *(norm for layer in self._layers for norm in _norms(layer))]
        return sum(held.values()) + sum(int(norm.nbytes) for norm in norms)

    @property
    def bytes_read(self) -> int:
        """Bytes that a step with few sequences reads: all but the embedding, of which it reads a few rows."""
        untied = self._embedding.weight.data_ptr() != self._head.weight.data_ptr()
        return self.nbytes - (self._embedding.nbytes if untied else 0)

    def hidden(self, token_ids: torch.Tensor, attention: Attention) -> torch.Tensor:
        """(tokens, hidden) after the last layer, for ``token_ids`` (tokens,)."""
        x = self._embedding.rows(token_ids)
        epsilon = self.shape.norm_epsilon
        for index, layer in enumerate(self._layers):
            qkv = norm_linear(x, layer.attention_norm, epsilon, layer.qkv)
            x = linear_add(attention(index, qkv, layer.head_norms), layer.out, x)
            x = linear_add(gated(x, layer.mlp_norm, epsilon, layer.gate_up), layer.down, x)
        return x

    def normed(self, hidden: torch.Tensor) -> torch.Tensor:
        return functional.rms_norm(hidden, hidden.shape[-1:], self._norm, self.shape.norm_epsilon)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        return norm_linear(hidden, self._norm, self.shape.norm_epsilon, self._head)

    def _matrices(self) -> Iterator[Matrix]:
        for layer in self._layers:
            yield from (layer.qkv, layer.out, layer.gate_up, layer.down)
        yield from (self._embedding, self._head)


class _Builder:
    """Joins and quantizes one matrix at a time, so that loading holds little more than what is kept."""

    def __init__(self, shape: LlamaShape, tensors: Tensors, bits: Bits) -> None:
        self._shape, self._tensors, self._bits = shape, tensors, bits

    def layer(self, prefix: str) -> Layer:
        shape, get = self._shape, self._tensors.get
        attention, mlp = prefix + "self_attn.", prefix + "mlp."
        attended = shape.heads * shape.head_dim
        return Layer(
            attention_norm=get(prefix + "input_layernorm.weight", shape.hidden),
            qkv=self._qkv(attention),
            head_norms=self._head_norms(attention) if shape.head_norms else None,
            out=Matrix.of(get(attention + "o_proj.weight", shape.hidden, attended), self._bits),
            mlp_norm=get(prefix + "post_attention_layernorm.weight", shape.hidden),
            gate_up=self._joined(
                [
                    get(f"{mlp}{which}_proj.weight", shape.intermediate, shape.hidden)
                    for which in ("gate", "up")
                ]
            ),
            down=Matrix.of(get(mlp + "down_proj.weight", shape.hidden, shape.intermediate), self._bits),
        )

    def ends(self) -> tuple[Matrix, Matrix]:
        """Embedding and head. Of quantized models the head stays at 8 bits, as GGUF's 4-bit files have it."""
        shape, get = self._shape, self._tensors.get
        bits: Bits = 16 if self._bits == 16 else 8
        embedding = get("model.embed_tokens.weight", shape.vocabulary, shape.hidden)
        if shape.tied:
            both = Matrix.of(embedding, bits)
            return both, both
        return Matrix.of(embedding, 16), Matrix.of(get("lm_head.weight", *embedding.shape), bits)

    def _qkv(self, prefix: str) -> Matrix:
        shape, get = self._shape, self._tensors.get
        widths = {"q": shape.heads, "k": shape.kv_heads, "v": shape.kv_heads}
        rows = {f"{prefix}{which}_proj": heads * shape.head_dim for which, heads in widths.items()}
        bias = torch.cat([get(name + ".bias", n) for name, n in rows.items()]) if shape.qkv_bias else None
        return self._joined([get(name + ".weight", n, shape.hidden) for name, n in rows.items()], bias)

    def _head_norms(self, prefix: str) -> HeadNorms:
        width = self._shape.head_dim
        query = self._tensors.get(prefix + "q_norm.weight", width)
        return query, self._tensors.get(prefix + "k_norm.weight", width)

    def _joined(self, parts: list[torch.Tensor], bias: torch.Tensor | None = None) -> Matrix:
        return Matrix.of(torch.cat(parts), self._bits, bias)


def _norms(layer: Layer) -> tuple[torch.Tensor, ...]:
    return layer.attention_norm, layer.mlp_norm, *(layer.head_norms or ())
