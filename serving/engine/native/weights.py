"""The weights of a Llama-shaped model as the C library takes them."""

from __future__ import annotations

import ctypes
import math
from typing import Any

import numpy as np

from serving.engine.native.kernels.binding import Layer, Matrix, Model
from serving.engine.native.quantize import Bits, Checkpoint, Floats, Quantizer, alternating, stacked


class Weights:
    """A checkpoint's weights, packed, and the C structure that points at them."""

    def __init__(self, library: ctypes.CDLL, checkpoint: Checkpoint, config: Any, bits: Bits) -> None:
        self._checkpoint, self._bits = checkpoint, bits
        self._quantizer = Quantizer(library, checkpoint)
        self._layers = (Layer * config.num_hidden_layers)(
            *(self._layer(f"model.layers.{index}.") for index in range(config.num_hidden_layers))
        )
        frequencies, scaling = rope_frequencies(config)
        # Embedding and head stay at 8 bits, as GGUF's 4-bit files have them.
        embedding = self._stack("model.embed_tokens.weight", bits=8)
        tied = config.tie_word_embeddings or "lm_head.weight" not in checkpoint
        self.model = Model(
            hidden=config.hidden_size,
            intermediate=config.intermediate_size,
            heads=config.num_attention_heads,
            kv_heads=config.num_key_value_heads,
            head_dim=head_dim(config),
            vocabulary=config.vocab_size,
            layers=config.num_hidden_layers,
            epsilon=config.rms_norm_eps,
            attention_scaling=scaling,
            frequencies=self._quantizer.vector(frequencies),
            final_norm=self._norm("model.norm.weight"),
            embedding=embedding,
            head=embedding if tied else self._stack("lm_head.weight", bits=8),
            layer=self._layers,
        )

    @property
    def bytes_held(self) -> int:
        return self._quantizer.bytes_held

    def _layer(self, prefix: str) -> Layer:
        attention, mlp = prefix + "self_attn.", prefix + "mlp."
        return Layer(
            attention_norm=self._norm(prefix + "input_layernorm.weight"),
            mlp_norm=self._norm(prefix + "post_attention_layernorm.weight"),
            query_norm=self._norm_if_any(attention + "q_norm.weight"),
            key_norm=self._norm_if_any(attention + "k_norm.weight"),
            qkv=self._stack(*(f"{attention}{which}_proj.weight" for which in "qkv")),
            out=self._stack(attention + "o_proj.weight"),
            gate_up=self._quantizer.matrix(
                alternating(self._checkpoint, mlp + "gate_proj.weight", mlp + "up_proj.weight"),
                self._bits,
                gated=True,
            ),
            down=self._stack(mlp + "down_proj.weight"),
        )

    def _stack(self, *names: str, bits: Bits | None = None) -> Matrix:
        biases = [name.replace(".weight", ".bias") for name in names]
        return self._quantizer.matrix(
            stacked(self._checkpoint, names),
            bits or self._bits,
            biases=[bias for bias in biases if bias in self._checkpoint],
        )

    def _norm(self, name: str) -> int:
        return self._quantizer.vector(self._checkpoint.vector(name))

    def _norm_if_any(self, name: str) -> int | None:
        return self._norm(name) if name in self._checkpoint else None


def rope_frequencies(config: Any) -> tuple[Floats, float]:
    """Radians per position for each pair of dimensions, and what cosines and sines are multiplied by.

    ``llama3`` stretches long wavelengths (Llama 3.1, section 3.4.1 and its reference code)."""
    rope = config.rope_parameters
    dim = head_dim(config)
    frequencies = rope["rope_theta"] ** -(np.arange(0, dim, 2, dtype=np.float64) / dim)
    if rope["rope_type"] == "llama3":
        turns = rope["original_max_position_embeddings"] * frequencies / (2 * math.pi)
        low, high = rope["low_freq_factor"], rope["high_freq_factor"]
        kept = np.clip((turns - low) / (high - low), 0, 1)
        frequencies = frequencies * (kept + (1 - kept) / rope["factor"])
    return frequencies.astype(np.float32), 1.0


def head_dim(config: Any) -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)
