"""The bridge between the engine's thread and event loops, with a model that is a function."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from serving.backends import Generation, LocalBackend
from serving.engine.core import EngineConfig, GenerationRequest, SequenceOutput
from serving.engine.errors import ContextLengthExceeded
from serving.engine.sampling.params import SamplingParams
from tests.serving.engine.fakes import BlockRunner, continuation


@pytest.fixture
def runner() -> BlockRunner:
    return BlockRunner()


@pytest.fixture
def backend(runner: BlockRunner) -> Iterator[LocalBackend]:
    model: Any = SimpleNamespace(
        spec=SimpleNamespace(name="fake"),
        config=EngineConfig(max_model_len=64, kv_blocks=64, block_size=4),
        runner=runner,
        tokenizer=None,
        grammars=None,
        hidden_size=2,
        pooling="mean",
    )
    backend = LocalBackend(model)
    backend.start()
    yield backend
    backend.stop()


def ask(request_id: str, max_tokens: int, prompt: tuple[int, ...] = (1, 2, 3)) -> GenerationRequest:
    return GenerationRequest(request_id, prompt, SamplingParams(max_tokens=max_tokens))


async def read(generation: Generation, sequences: int = 1) -> list[SequenceOutput]:
    outputs = []
    ended = 0
    while ended < sequences:
        output = await asyncio.wait_for(generation.next(), 5)
        outputs.append(output)
        ended += output.finish_reason is not None
    return outputs


async def test_every_token_comes_once_and_in_order(backend: LocalBackend) -> None:
    outputs = await read(backend.generate([ask("a", 20)]))
    assert [token for output in outputs for token in output.token_ids] == continuation((1, 2, 3), 20)


async def test_sequences_started_together_come_together(backend: LocalBackend) -> None:
    generation = backend.generate([ask("a", 3), ask("b", 5)])
    await read(generation, sequences=2)
    assert generation.completion_tokens("a") == 3
    assert generation.completion_tokens("b") == 5
    assert generation.open() == []


async def test_when_one_is_refused_none_is_started(backend: LocalBackend) -> None:
    with pytest.raises(ContextLengthExceeded):
        backend.generate([ask("a", 20), ask("b", 1000)])
    for _ in range(500):
        stats = backend.health()
        if stats.running == stats.waiting == 0:
            break
        await asyncio.sleep(0.01)
    assert (stats.running, stats.waiting, stats.kv_blocks_used) == (0, 0, 0)
    assert len(await read(backend.generate([ask("a", 2)]))) == 2


async def test_one_may_be_done_before_the_next_is_refused(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit = backend._engine.submit

    def submit_and_wait(request: GenerationRequest) -> None:
        submit(request)
        deadline = time.monotonic() + 10
        while request.request_id in backend._generations and time.monotonic() < deadline:
            time.sleep(0.001)

    monkeypatch.setattr(backend._engine, "submit", submit_and_wait)
    with pytest.raises(ContextLengthExceeded):
        backend.generate([ask("a", 1), ask("b", 1000)])


async def test_an_aborted_sequence_says_so_and_its_total_is_final(backend: LocalBackend) -> None:
    generation = backend.generate([ask("a", 60)])
    ended = threading.Event()
    generation.when_ended(ended.set)
    backend.abort("a")
    outputs = await read(generation)
    assert outputs[-1].finish_reason in ("abort", "length")
    assert outputs[-1].completion_tokens == generation.completion_tokens("a")
    assert await asyncio.to_thread(ended.wait, 5)


async def test_when_ended_calls_at_once_when_it_is_over(backend: LocalBackend) -> None:
    generation = backend.generate([ask("a", 1)])
    await read(generation)
    called = threading.Event()
    generation.when_ended(called.set)
    assert called.is_set()


async def test_cancelling_a_wait_loses_no_output(backend: LocalBackend, runner: BlockRunner) -> None:
    generation = backend.generate([ask("a", 30)])
    tokens: list[int] = []
    while len(tokens) < 30:
        try:
            async with asyncio.timeout(0.0005):
                output = await generation.next()
        except TimeoutError:
            continue
        tokens += output.token_ids
    assert tokens == continuation((1, 2, 3), 30)


async def test_a_stop_of_the_engine_ends_every_sequence_with_an_error(backend: LocalBackend) -> None:
    generation = backend.generate([ask("a", 60), ask("b", 60)])
    await asyncio.to_thread(backend.stop)
    reasons = {output.request_id: output.finish_reason for output in await read(generation, 2)}
    assert set(reasons) == {"a", "b"}


async def test_two_loops_get_their_own_outputs(backend: LocalBackend) -> None:
    def in_another_loop() -> list[SequenceOutput]:
        async def run() -> list[SequenceOutput]:
            return await read(backend.generate([ask("b", 10, (7, 8))]))

        return asyncio.run(run())

    other = asyncio.create_task(asyncio.to_thread(in_another_loop))
    mine = await read(backend.generate([ask("a", 10)]))
    assert {output.request_id for output in mine} == {"a"}
    assert {output.request_id for output in await other} == {"b"}
