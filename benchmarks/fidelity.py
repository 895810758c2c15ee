"""How far do quantized weights stray? Perplexity, next-token agreement and KL against float32.

    .venv/bin/python -m benchmarks.fidelity [folder of a model]

The text is the language reference that every Python carries for ``help()``. It is the same for all that
is compared; it changes a little between versions of Python.
"""

from __future__ import annotations

import math
import pydoc_data.topics
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.report import write_result
from serving.engine.core import BatchItem, GenerationRequest, Sequence
from serving.engine.native.runner import NativeRunner
from serving.engine.sampling.params import SamplingParams

WINDOW = 1024
TOKENS = 20 * WINDOW
COMPARED = 4  # whole distributions are compared at every fourth token: it takes long
CHUNK = 512
BLOCK_SIZE = 16


@dataclass
class Score:
    """Sums over the scored tokens, and what they come to."""

    tokens: int = 0
    nll: float = 0.0
    compared: int = 0
    kl: float = 0.0
    agreed: int = 0

    def add(self, logits: torch.Tensor, targets: torch.Tensor) -> None:
        chosen = logits.gather(1, targets[:, None])[:, 0]
        self.tokens += len(targets)
        self.nll += (logits.logsumexp(-1) - chosen).sum().item()

    def compare(self, logits: torch.Tensor, reference: torch.Tensor) -> None:
        own, true = logits.log_softmax(-1), reference.log_softmax(-1)
        self.compared += len(own)
        self.kl += (true.exp() * (true - own)).sum().item()
        self.agreed += int((own.argmax(-1) == true.argmax(-1)).sum())

    @property
    def perplexity(self) -> float:
        return math.exp(self.nll / self.tokens)


@dataclass(frozen=True)
class Fidelity:
    case: str
    tokens: int
    perplexity: float
    perplexity_change: float
    kl: float
    agreement: float


def windows(folder: Path, tokens: int) -> Iterator[list[int]]:
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    topics = pydoc_data.topics.topics
    text = "\n\n".join(topics[name] for name in sorted(topics))
    ids = tokenizer(text[: tokens * 6])["input_ids"][:tokens]
    yield from (ids[start : start + WINDOW] for start in range(0, tokens, WINDOW))


def native_logits(runner: NativeRunner, ids: list[int]) -> torch.Tensor:
    sequence = Sequence(GenerationRequest("", tuple(ids), SamplingParams()), 0, list(ids))
    sequence.block_table = list(range(-(-len(ids) // BLOCK_SIZE)))
    items = (BatchItem(sequence, at, min(CHUNK, len(ids) - at), False) for at in range(0, len(ids), CHUNK))
    return torch.cat([torch.from_numpy(runner.logits(item)) for item in items])


def measure(reference: Any, runners: Mapping[str, NativeRunner], text: Iterable[list[int]]) -> list[Fidelity]:
    """One row for each of ``runners``, on windows of ``text``."""
    scores = {kind: Score() for kind in ("float32", *runners)}
    for runner in runners.values():
        runner.allocate(WINDOW // BLOCK_SIZE, BLOCK_SIZE)
    for ids in text:
        targets = torch.tensor(ids[1:])
        with torch.inference_mode():
            true = reference(torch.tensor([ids])).logits[0, :-1]
        scores["float32"].add(true, targets)
        for kind, runner in runners.items():
            logits = native_logits(runner, ids)[:-1]
            scores[kind].add(logits, targets)
            scores[kind].compare(logits[::COMPARED], true[::COMPARED])
    base = scores["float32"].perplexity
    return [
        Fidelity(
            kind,
            scores[kind].tokens,
            scores[kind].perplexity,
            scores[kind].perplexity / base - 1,
            scores[kind].kl / scores[kind].compared,
            scores[kind].agreed / scores[kind].compared,
        )
        for kind in runners
    ]


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else default_model()
    reference = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    runners = {kind: NativeRunner.from_pretrained(folder, kind) for kind in ("int8", "int4")}
    rows = measure(reference, runners, windows(folder, TOKENS))
    for row in rows:
        print(
            f"{row.case:8} {row.tokens} tokens"
            f"  perplexity {row.perplexity:.3f} ({row.perplexity_change:+.2%})"
            f"  KL {row.kl:.4f}  same next token {row.agreement:.1%}"
        )
    write_result("fidelity", [asdict(row) for row in rows])


def default_model() -> Path:
    return next(path.parent for path in Path("var/models").glob("*/model.safetensors"))


if __name__ == "__main__":
    main()
