"""Which tokens end an answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import GenerationConfig


def end_tokens(folder: Path, config: Any) -> frozenset[int]:
    """The generation config's end tokens, which may be more than the model config's."""
    try:
        ids = GenerationConfig.from_pretrained(folder, local_files_only=True).eos_token_id
    except OSError:
        ids = config.eos_token_id
    return frozenset(ids if isinstance(ids, list) else [] if ids is None else [ids])
