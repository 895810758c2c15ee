from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import Iterator

import pytest

from serving.backends import LocalBackend
from serving.engine.core import GenerationRequest, SequenceOutput
from serving.engine.errors import DeviceFailed, EngineStopped
from serving.engine.sampling.params import SamplingParams
from serving.errors import ModelNotReady
from serving.runtime import ModelStatus, Runtime


@pytest.fixture
def runtime() -> Iterator[Runtime]:
    """The real one, with the default model loaded."""
    runtime = Runtime()
    runtime.start()
    wait_until_ready(runtime)
    yield runtime
    runtime.stop()
    gc.unfreeze()


def wait_until_ready(runtime: Runtime) -> ModelStatus:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        [status] = runtime.status()
        assert status.state != "failed", status.reason
        if status.state == "ready":
            return status
        time.sleep(0.01)
    raise AssertionError("the model did not become ready")


async def last_output(backend: LocalBackend, name: str) -> SequenceOutput:
    params = SamplingParams(max_tokens=3, ignore_eos=True)
    generation = backend.generate([GenerationRequest(name, (1, 2, 3), params)])
    while True:
        output = await asyncio.wait_for(generation.next(), 60)
        if output.finish_reason is not None:
            return output


def test_garbage_is_not_looked_for_among_what_stays(runtime: Runtime) -> None:
    assert gc.get_freeze_count() > 100_000
    assert len(gc.get_objects()) < gc.get_freeze_count() / 10


def test_a_lost_device_ends_requests_with_the_reason_and_the_model_is_loaded_anew(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken = wait_until_ready(runtime).backend
    assert broken is not None

    def lose_device(batch: object) -> None:
        raise DeviceFailed("The GPU failed: an illegal memory access was encountered")

    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING, "serving.runtime"):
        patch.setattr(broken.model.runner, "run", lose_device)
        output = asyncio.run(last_output(broken, "r"))
        assert output.finish_reason == "error"
        assert "illegal memory access" in (output.error or "")
        while runtime.status()[0].backend is broken:
            time.sleep(0.001)
        [status] = runtime.status()
        assert (status.state, status.backend) == ("loading", None)
        assert "illegal memory access" in status.reason
        with pytest.raises(ModelNotReady):
            runtime.get(status.name)
        mended = wait_until_ready(runtime)
    assert mended.backend is not None
    assert mended.backend is not broken
    assert mended.reason == ""
    assert asyncio.run(last_output(mended.backend, "r")).finish_reason == "length"
    with pytest.raises(EngineStopped, match="must be restarted"):
        asyncio.run(last_output(broken, "late"))
    assert any("is ready after" in record.message for record in caplog.records)
