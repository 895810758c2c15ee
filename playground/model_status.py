"""Tells a socket how the models fare, so that the page can say why it waits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from django.utils import translation

from playground.frames import Frame
from serving import runtime
from serving.sayings import translated

INTERVAL = 1.0  # seconds between two looks


async def watch_models(send: Callable[[Frame], Awaitable[None]], language: str) -> None:
    """Sends a models frame at once, and again after every change. Runs until it is cancelled.
    ``language``: of the reasons in it."""
    sent = None
    while True:
        frame = _models_frame(language)
        if frame != sent:
            await send(frame)
            sent = frame
        await asyncio.sleep(INTERVAL)


def _models_frame(language: str) -> Frame:
    with translation.override(language):
        models = [
            {
                "name": status.name,
                "state": status.state,
                "progress": status.progress,
                "reason": translated(status.reason),
                "context_length": status.context_length,
            }
            for status in runtime.status()
        ]
    return {"type": "models", "models": models}
