"""The models of this process: loads those of models.toml in the background, and finds them by name.

A model that cannot be loaded does not keep the site from starting; ``status`` says why.
"""

from __future__ import annotations

import gc
import logging
import threading
import time
from dataclasses import dataclass, replace
from typing import Literal

from django.conf import settings

from apikeys.auth import Caller
from apikeys.errors import PermissionDenied
from serving.backends import Backend, LocalBackend
from serving.engine.errors import EngineError
from serving.engine.models_file import ModelSpec, read_models_file
from serving.engine.saying import say
from serving.errors import ModelNotFound, ModelNotReady

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """How far a model is. ``activity`` and ``progress`` (0 to 1) tell of its loading, ``reason`` of why
    it failed, or is loaded again; ``backend`` is there when it is ready."""

    spec: ModelSpec
    state: Literal["loading", "ready", "failed"] = "loading"
    activity: str = say("Waiting")
    progress: float = 0.0
    reason: str = ""
    backend: LocalBackend | None = None
    created: int = 0  # when the server declared it, in seconds of the epoch

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def context_length(self) -> int | None:
        return self.backend.context_length if self.backend else None


class Runtime:
    """Loads models one after the other on a thread of its own. All methods may be called anywhere."""

    def __init__(self) -> None:
        self._statuses: dict[str, ModelStatus] = {}
        self._roots: dict[str, str] = {}  # each name and alias, and the name it stands for
        self._stopping = threading.Event()

    def start(self) -> None:
        """Raises ModelsFileError."""
        specs = read_models_file(settings.MODELS_FILE)
        now = int(time.time())
        self._statuses = {spec.name: ModelStatus(spec, created=now) for spec in specs}
        self._roots = {name: spec.name for spec in specs for name in (spec.name, *spec.aliases)}
        self._stopping.clear()
        threading.Thread(target=self._load_all, args=(specs,), name="model-loader", daemon=True).start()

    def stop(self) -> None:
        """Ends every engine; what it was working on ends with an error."""
        self._stopping.set()
        for status in self.status():
            if status.backend:
                status.backend.stop()

    def get(self, name: str) -> Backend:
        """The model that a name or alias stands for. Raises ModelNotFound or ModelNotReady."""
        status = self.find(name)
        if status.backend:
            return status.backend
        if status.state == "failed":
            raise ModelNotReady(f"The model '{name}' could not be loaded: {status.reason}", param="model")
        raise ModelNotReady(
            f"The model '{name}' is still being loaded ({status.progress:.0%}). Please try again.",
            param="model",
            headers={"Retry-After": "5"},
        )

    def get_for(self, caller: Caller, name: str) -> Backend:
        """As ``get``, for somebody. Raises PermissionDenied too."""
        root = self.find(name).name
        if not caller.may_use(name, root):
            raise PermissionDenied(
                f"This API key may not use the model '{name}', only: {', '.join(caller.models)}.",
                param="model",
            )
        return self.get(name)

    def find(self, name: str) -> ModelStatus:
        """Raises ModelNotFound."""
        if name not in self._roots:
            raise ModelNotFound(name)
        return self._statuses[self._roots[name]]

    def root_of(self, name: str) -> str:
        """The name of the model that a name or alias stands for; empty for one that nothing has."""
        return self._roots.get(name, "")

    def status(self) -> list[ModelStatus]:
        """Of every declared model, in the file's order."""
        return list(self._statuses.values())

    def _load_all(self, specs: tuple[ModelSpec, ...]) -> None:
        for spec in specs:
            self._try_to_load(spec)

    def _try_to_load(self, spec: ModelSpec) -> None:
        try:
            self._load(spec)
        except (EngineError, MemoryError) as error:
            log.error("%s", error)
            self._update(spec, state="failed", reason=_reason_of(error))
        except Exception as error:
            log.exception("The model %s could not be loaded", spec.name)
            self._update(spec, state="failed", reason=f"{type(error).__name__}: {error}")

    def _load(self, spec: ModelSpec) -> None:
        from serving.engine.loader import load  # torch: seconds, and the pages need not wait for it

        def report(activity: str, progress: float) -> None:
            self._update(spec, activity=activity, progress=progress)

        loaded = load(spec, settings.MODELS_DIR, report)
        backend = LocalBackend(loaded, lambda reason: self._restart(spec, reason))
        _let_garbage_be_found_quickly()
        if not self._stopping.is_set():
            self._update(spec, state="ready", progress=1.0, reason="", backend=backend)
            backend.start()

    def _restart(self, spec: ModelSpec, reason: str) -> None:
        """On the thread of the engine that failed, which must end for its memory to be free again."""
        if self._stopping.is_set():
            return
        log.error("%s is loaded anew. %s", spec.name, reason)
        self._update(
            spec, state="loading", activity=say("Restarting"), progress=0.0, reason=reason, backend=None
        )
        threading.Thread(target=self._recover, args=(spec,), name="model-loader", daemon=True).start()

    def _recover(self, spec: ModelSpec) -> None:
        began = time.monotonic()
        gc.unfreeze()
        gc.collect()  # the failed engine's weights, before they are in memory twice
        self._try_to_load(spec)
        log.warning("%s is %s after %.1f s", spec.name, self.find(spec.name).state, time.monotonic() - began)

    def _update(self, spec: ModelSpec, **changes: object) -> None:
        self._statuses[spec.name] = replace(self._statuses[spec.name], **changes)  # type: ignore[arg-type]


def _reason_of(error: EngineError | MemoryError) -> str:
    """In the words that were raised: a ``Saying`` can be translated."""
    return error.args[0] if error.args else say("The memory is used up.")


def _let_garbage_be_found_quickly() -> None:
    """What there is by now stays, and need not be looked at again. A look at half a million objects stops
    every request for a third of a second; under load, every few seconds."""
    gc.collect()
    gc.freeze()


_runtime = Runtime()
start, stop, get, get_for, find, root_of, status = (
    _runtime.start,
    _runtime.stop,
    _runtime.get,
    _runtime.get_for,
    _runtime.find,
    _runtime.root_of,
    _runtime.status,
)
