"""Everything that the engine raises on purpose."""

from __future__ import annotations


class EngineError(Exception):
    """Base of everything the engine raises on purpose.

    EngineError
     ├─ ModelsFileError       models.toml cannot be used; says the line and the mend
     ├─ ModelLoadError        a declared model could not be made ready
     ├─ InvalidRequest        token ids or sampling parameters that cannot be run
     ├─ ContextLengthExceeded prompt and max_tokens do not fit the model's context
     ├─ QueueFull             the waiting queue is at its bound; carries ``retry_after`` seconds
     ├─ DeviceFailed          the device cannot compute any more: the model must be loaded anew
     └─ EngineStopped         the engine thread is not running
    """


class ModelsFileError(EngineError):
    """models.toml cannot be used. The message names the line and what to write instead."""


class ModelLoadError(EngineError):
    """A declared model could not be made ready. The message is one line that says what to do."""


class InvalidRequest(EngineError):
    """Token ids or sampling parameters that no model can run."""


class ContextLengthExceeded(EngineError):
    """The prompt (plus what was asked to be generated) is longer than the model's context."""


class QueueFull(EngineError):
    """The waiting queue is full. ``retry_after``: seconds until a place is likely to be free."""

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"The engine's queue is full; try again in {retry_after:.0f} s.")
        self.retry_after = retry_after


class DeviceFailed(EngineError):
    """The device under the model is lost to this runner. Only loading the model anew can help."""


class EngineStopped(EngineError):
    """The engine is not running: it was never started, was stopped, or its device failed."""
