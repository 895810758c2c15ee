"""Keys that this process has looked up lately, so that a key in use costs no query.

What is remembered is trusted for TRUSTED seconds after the database was asked; a watcher asks again, off
the path of any request, before that time is over. So a key that is revoked, whose owner is deactivated,
or whose limits, project or membership have changed,

- by this process is refused at once: ``forget_key`` and the signals of the models see to that;
- by another process, or past the models, is refused within TRUSTED seconds.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from django.contrib.auth import get_user_model
from django.db import close_old_connections, connection, transaction
from django.db.models import Model, QuerySet
from django.db.models.signals import post_delete, post_save

from apikeys.models import ApiKey, Membership, Project, UserLimits

TRUSTED = 1.0  # seconds
ASK_EVERY = 0.4  # seconds; leaves the database as long to answer
KEEP = 60.0  # seconds without use after which a key is no longer asked about
ASK_AT_ONCE = 500  # keys in one query

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Known:
    """``asked_at`` is when the query that found ``key`` began, ``used_at`` when somebody came with it."""

    key: ApiKey
    asked_at: float
    used_at: float


class KnownKeys:
    """By their hash. Thread-safe. ``clock`` gives seconds that never go back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[str, _Known] = {}
        self._lock = threading.Lock()
        self._forgotten = 0  # how often anything was: what was asked before may be out of date
        self._in_use = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def get(self, digest: str) -> ApiKey | None:
        """The key with owner and project, as the database had it at most TRUSTED seconds ago. Asks nobody."""
        known = self._known.get(digest)
        if known is None:
            return None
        now = self._clock()
        known.used_at = now
        return known.key if now - known.asked_at < TRUSTED else None

    def look_up(self, prefix: str, digest: str) -> ApiKey | None:
        """The key that has this prefix, asked from the database; remembered if the hash is its own."""
        asked_at, forgotten = self._clock(), self._forgotten
        key = _keys().filter(prefix=prefix).first()
        if key is not None and key.hash == digest:
            with self._lock:
                if self._forgotten == forgotten:
                    self._known[digest] = _Known(key, asked_at, asked_at)
            self._in_use.set()
        return key

    def forget_key(self, key: ApiKey) -> None:
        self._forget(lambda known: known.pk == key.pk)

    def forget_keys_of(self, user_id: int) -> None:
        self._forget(lambda known: known.owner_id == user_id)

    def forget_keys_in(self, project_id: int) -> None:
        self._forget(lambda known: known.project_id == project_id)

    def start(self) -> None:
        self._stopping.clear()
        self._thread = threading.Thread(target=self._watch, name="key-watcher", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        if self._thread is not None:
            self._stopping.set()
            self._in_use.set()
            self._thread.join()
            self._thread = None

    def ask_again(self) -> None:
        """Asks the database about every key in use, and drops the others."""
        now, forgotten = self._clock(), self._forgotten
        used = {digest: known for digest, known in self._known.copy().items() if now - known.used_at < KEEP}
        ids = [known.key.pk for known in used.values()]
        found = {
            key.hash: key
            for at in range(0, len(ids), ASK_AT_ONCE)
            for key in _keys().filter(pk__in=ids[at : at + ASK_AT_ONCE])
        }
        with self._lock:
            if self._forgotten != forgotten:  # it may have been one of these: the next round tells
                return
            for digest, known in self._known.copy().items():
                if digest in found:
                    self._known[digest] = _Known(found[digest], now, known.used_at)
                elif known.asked_at < now:
                    del self._known[digest]

    def _forget(self, is_meant: Callable[[ApiKey], bool]) -> None:
        """Now, and again when the change can be seen: until then it may be looked up as it was."""
        self._drop(is_meant)
        transaction.on_commit(lambda: self._drop(is_meant))

    def _drop(self, is_meant: Callable[[ApiKey], bool]) -> None:
        with self._lock:
            self._forgotten += 1
            self._known = {digest: known for digest, known in self._known.items() if not is_meant(known.key)}

    def _watch(self) -> None:
        while not self._stopping.wait(ASK_EVERY):
            self._in_use.clear()
            if not self._known:
                self._in_use.wait()
            try:
                close_old_connections()
                self.ask_again()
            except Exception as error:  # then each request asks for itself
                logger.warning("The database does not say which keys still hold: %s", error)
        connection.close()


def _keys() -> QuerySet[ApiKey]:
    """With all that says what a key may do."""
    return ApiKey.objects.select_related("owner__limits", "project")


_known_keys = KnownKeys()
get, look_up, forget_key, start, stop = (
    _known_keys.get,
    _known_keys.look_up,
    _known_keys.forget_key,
    _known_keys.start,
    _known_keys.stop,
)


def connect_signals() -> None:
    """For AppConfig.ready."""
    for signal in (post_save, post_delete):
        signal.connect(_key_changed, sender=ApiKey, dispatch_uid="known_keys")
        signal.connect(_user_changed, sender=get_user_model(), dispatch_uid="known_keys")
        signal.connect(_project_changed, sender=Project, dispatch_uid="known_keys")
        for model in (Membership, UserLimits):
            signal.connect(_person_changed, sender=model, dispatch_uid="known_keys")


def _key_changed(instance: ApiKey, **_: object) -> None:
    _known_keys.forget_key(instance)


def _user_changed(instance: Model, **_: object) -> None:
    _known_keys.forget_keys_of(instance.pk)


def _project_changed(instance: Project, **_: object) -> None:
    _known_keys.forget_keys_in(instance.pk)


def _person_changed(instance: Membership | UserLimits, **_: object) -> None:
    _known_keys.forget_keys_of(instance.user_id)
