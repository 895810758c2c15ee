"""Both kinds of runner, each against log-softmax of its own model's logits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from serving.engine.core import BatchItem, EngineConfig, GenerationRequest, Sequence, SequenceOutput
from serving.engine.engine import Engine
from serving.engine.native.runner import NativeRunner
from serving.engine.sampling.params import SamplingParams

PROMPT = tuple((7 * i) % 97 for i in range(40))
CONFIG = EngineConfig(max_model_len=128, kv_blocks=32, block_size=16, prefill_chunk=16)


@pytest.fixture
def run(tiny_runner: Any) -> Callable[..., dict[str, list[SequenceOutput]]]:
    """Runs requests to their end in one batch; their outputs by name."""

    def run(requests: dict[str, SamplingParams], **changes: int) -> dict[str, list[SequenceOutput]]:
        outputs: dict[str, list[SequenceOutput]] = {name: [] for name in requests}

        def receive(news: list[SequenceOutput]) -> None:
            for output in news:
                assert output.error is None, output.error
                outputs[output.request_id].append(output)

        engine = Engine(
            EngineConfig(**{**{s: getattr(CONFIG, s) for s in CONFIG.__slots__}, **changes}),
            tiny_runner,
            receive,
        )
        for name, params in requests.items():
            engine.submit(GenerationRequest(name, PROMPT, params))
        while engine.stats().running + engine.stats().waiting:
            engine.step()
        return outputs

    return run


def expected(runner: Any, model: Any, ids: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Row i: the logprobs of what follows ids[: i + 1]."""
    if isinstance(runner, NativeRunner):
        runner.allocate(32, 16)
        sequence = Sequence(GenerationRequest("", ids, SamplingParams()), 0, list(ids))
        sequence.block_table = list(range(8))
        logits = torch.tensor(runner.logits(BatchItem(sequence, 0, len(ids), True)))
    else:
        with torch.inference_mode():
            logits = model(torch.tensor([ids])).logits[0]
    rows: np.ndarray[Any, Any] = logits.double().log_softmax(-1).numpy()
    return rows


def check(rows: np.ndarray[Any, Any], told: Any, ids: tuple[int, ...], top: int) -> None:
    assert [one.token_id for one in told] == list(ids)
    for row, one in zip(rows, told, strict=True):
        assert one.logprob == pytest.approx(row[one.token_id], abs=2e-3)
        assert len(one.top) == top
        assert [value for _, value in one.top] == pytest.approx(sorted(row)[::-1][:top], abs=2e-3)
        assert all(value == pytest.approx(row[token], abs=2e-3) for token, value in one.top)


def test_logprobs_of_prompt_and_output_are_the_models_own(
    tiny_runner: Any, tiny_model: Any, run: Any
) -> None:
    params = SamplingParams(
        max_tokens=6, temperature=0.7, seed=1, logprobs=2, prompt_logprobs=5, presence_penalty=1.5
    )
    outputs = run({"r": params, "plain": SamplingParams(max_tokens=6, seed=1)})
    tokens = tuple(token for output in outputs["r"] for token in output.token_ids)
    rows = expected(tiny_runner, tiny_model, (*PROMPT, *tokens))
    first, *others = outputs["r"]
    check(rows[: len(PROMPT) - 1], first.prompt_logprobs, PROMPT[1:], 5)
    told = [one for output in outputs["r"] for one in output.logprobs]
    check(rows[len(PROMPT) - 1 : -1], told, tokens, 2)
    assert all(output.prompt_logprobs is None for output in others), "once is enough"
    assert all(output.logprobs is None and output.prompt_logprobs is None for output in outputs["plain"])


def test_zero_logprobs_tell_of_the_chosen_tokens_alone(tiny_runner: Any, tiny_model: Any, run: Any) -> None:
    outputs = run({"r": SamplingParams(max_tokens=3, temperature=0, logprobs=0)})["r"]
    tokens = tuple(output.token_ids[0] for output in outputs)
    rows = expected(tiny_runner, tiny_model, (*PROMPT, *tokens))[len(PROMPT) - 1 : -1]
    check(rows, [output.logprobs[0] for output in outputs], tokens, 0)


def test_a_prompt_that_the_cache_holds_still_tells_its_logprobs(
    tiny_runner: Any, tiny_model: Any, run: Any
) -> None:
    params = SamplingParams(max_tokens=2, temperature=0, prompt_logprobs=1)
    outputs = run({"first": SamplingParams(max_tokens=1), "second": params}, max_batch_size=1)
    assert outputs["second"][0].logprobs is None
    check(expected(tiny_runner, tiny_model, PROMPT)[:-1], outputs["second"][0].prompt_logprobs, PROMPT[1:], 1)


def test_preemption_tells_every_logprob_once(tiny_runner: Any, tiny_model: Any, run: Any) -> None:
    params = SamplingParams(max_tokens=40, temperature=0, logprobs=1, prompt_logprobs=1, ignore_eos=True)
    alone = run({"a": params})["a"]
    crowded = run(dict.fromkeys("abc", params), kv_blocks=9)
    for outputs in crowded.values():
        assert [output.token_ids for output in outputs] == [output.token_ids for output in alone]
        assert len(outputs[0].prompt_logprobs or ()) == len(PROMPT) - 1
        assert all(len(output.logprobs or ()) == 1 for output in outputs)
