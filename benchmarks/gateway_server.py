"""The whole site, as `manage.py serve` runs it, with a model that costs nothing: for benchmarks/gateway.py.

The engine, its thread and its scheduler are the real ones, and so is the tokenizer; only the computing is
left out. STEP_MS makes every step take that long, and STEP_LOG names the file in which each step writes
when it was done, and which tokens it made.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence as Seq
from pathlib import Path

import django
from transformers import AutoTokenizer

from serving.engine import loader
from serving.engine.core import BatchItem, EngineConfig, StepResult
from serving.engine.model_store import prepare
from serving.engine.models_file import ModelSpec
from serving.engine.progress import Report
from serving.engine.tokenizer import Tokenizer

CONFIG = EngineConfig(max_model_len=2048, kv_blocks=16384, max_batch_size=256)
WORD = " the"  # what the model says, always


class ConstantRunner:
    """A ModelRunner that answers every token with the same one."""

    name = "constant"
    eos_token_ids: frozenset[int] = frozenset()

    def __init__(self, token: int, vocab_size: int) -> None:
        self.vocab_size = vocab_size
        self._token = token
        self._seconds = float(os.environ.get("STEP_MS", 0)) / 1000
        log = os.environ.get("STEP_LOG")
        self._log = Path(log).open("w", encoding="utf-8") if log else None  # noqa: SIM115 (as long as the process)

    def allocate(self, kv_blocks: int, block_size: int) -> None: ...

    def run(self, batch: Seq[BatchItem]) -> StepResult:
        if self._seconds:
            time.sleep(self._seconds)
        sampling = [item.sequence for item in batch if item.samples]
        if self._log:
            made = [(sequence.request_id, sequence.num_output) for sequence in sampling]
            self._log.write(json.dumps([time.monotonic(), made]) + "\n")
            self._log.flush()
        return StepResult([self._token] * len(sampling))

    def weight_bytes(self) -> int:
        return 0

    def kv_bytes_per_token(self) -> int:
        return 1


def load(spec: ModelSpec, models_dir: Path, report: Report) -> loader.LoadedModel:
    """As ``loader.load``, with the real tokenizer and the runner above."""
    inner = AutoTokenizer.from_pretrained(prepare(spec, models_dir, report), local_files_only=True)
    tokenizer = Tokenizer(inner)
    [token] = tokenizer.encode(WORD, special=False)
    runner = ConstantRunner(token, len(inner))
    return loader.LoadedModel(
        spec=spec,
        tokenizer=tokenizer,
        runner=runner,
        config=CONFIG,
        grammars=loader.GrammarCompiler(inner, runner.vocab_size, runner.eos_token_ids),
        hidden_size=0,
        pooling="mean",
        architecture="none",
        runner_reason="it is for a benchmark",
    )


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    from django.core.management import call_command

    loader.load = load
    call_command("serve")
