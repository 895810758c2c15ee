"""What the fast GPU runner needs to know of a model, read once from its transformers config."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from serving.engine.saying import say

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
# Rotary scalings that do not depend on how long a sequence is.
_ROTARY = ("default", "linear", "llama3", "yarn")
_MAX_HEAD = 256
# int4 keeps the two halves of a row side by side, each in whole groups of 32 weights.
_QUANTIZED_MULTIPLE = 64


@dataclass(frozen=True, slots=True)
class LlamaShape:
    """``windows``: for each layer how many tokens back it sees, its own included; 0 for all."""

    vocabulary: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    windows: tuple[int, ...]
    norm_epsilon: float
    tied: bool
    qkv_bias: bool
    head_norms: bool

    @classmethod
    def of(cls, config: Any) -> LlamaShape:
        """Of a ``config`` for which ``unsupported`` is None."""
        return cls(
            vocabulary=config.vocab_size,
            hidden=config.hidden_size,
            intermediate=config.intermediate_size,
            heads=config.num_attention_heads,
            kv_heads=config.num_key_value_heads,
            head_dim=_head_dim(config),
            windows=_windows(config),
            norm_epsilon=config.rms_norm_eps,
            tied=config.tie_word_embeddings,
            qkv_bias=config.model_type == "qwen2",
            head_norms=config.model_type == "qwen3",
        )

    @property
    def qkv_width(self) -> int:
        return (self.heads + 2 * self.kv_heads) * self.head_dim


def unsupported(config: Any, quantization: str) -> str | None:
    """Why ``LlamaShape`` cannot describe ``config``, or None when it can."""
    if config.model_type not in FAMILIES:
        return say("%(given)s is not one of %(known)s", given=config.model_type, known=", ".join(FAMILIES))
    if (scaling := config.rope_parameters["rope_type"]) not in _ROTARY:
        return say(
            "rotary scaling %(given)s is not one of %(known)s", given=scaling, known=", ".join(_ROTARY)
        )
    if config.hidden_act != "silu":
        return say("activation %(given)s is not silu", given=config.hidden_act)
    if getattr(config, "attention_bias", False) or getattr(config, "mlp_bias", False):
        return say("its linear layers have biases")
    head_dim = _head_dim(config)
    if head_dim % 2 or head_dim > _MAX_HEAD:
        return say(
            "head dimension %(given)s is not an even number up to %(most)s", given=head_dim, most=_MAX_HEAD
        )
    widths = (config.hidden_size, config.intermediate_size, config.num_attention_heads * head_dim)
    if quantization != "none" and any(width % _QUANTIZED_MULTIPLE for width in widths):
        return say(
            "widths %(widths)s are not multiples of %(multiple)s", widths=widths, multiple=_QUANTIZED_MULTIPLE
        )
    return None


def rotary_table(config: Any, length: int, device: torch.device) -> torch.Tensor:
    """(2, length, head_dim / 2) in float32: cosines and sines of every position below ``length``."""
    rope = config.rope_parameters
    width = _head_dim(config)
    if rope["rope_type"] == "default":
        exponents = torch.arange(0, width, 2, dtype=torch.float32) / width
        frequencies, scaling = 1 / rope["rope_theta"] ** exponents, 1.0
    else:
        frequencies, scaling = ROPE_INIT_FUNCTIONS[rope["rope_type"]](config, torch.device("cpu"))
    angles = torch.arange(length, dtype=torch.float32)[:, None] * frequencies
    return torch.stack((angles.cos(), angles.sin())).mul_(scaling).to(device)


def _head_dim(config: Any) -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def _windows(config: Any) -> tuple[int, ...]:
    layers: int = config.num_hidden_layers
    window = getattr(config, "sliding_window", None) or 0
    if not getattr(config, "use_sliding_window", True):
        window = 0
    kinds = getattr(config, "layer_types", None) or ["sliding_attention"] * layers
    return tuple(window if kind == "sliding_attention" else 0 for kind in kinds)
