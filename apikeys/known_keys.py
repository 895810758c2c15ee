"""Keys that this process has looked up lately, so that a key in use costs no query (``known.py``).

So a key that is revoked, whose owner is deactivated, or whose limits, project or membership have changed,

- by this process is refused at once: ``forget_key`` and the signals of the models see to that;
- by another process, or past the models, is refused within TRUSTED seconds.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Mapping

from django.contrib.auth import get_user_model
from django.db.models import Model, OuterRef, QuerySet, Subquery
from django.db.models.signals import post_delete, post_save

from apikeys.known import Known
from apikeys.models import ApiKey, Membership, Project, UserLimits


class KnownKeys(Known[ApiKey]):
    """By their hash, with owner and project."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__("key", _ask, clock)

    def look_up(self, prefix: str, digest: str) -> ApiKey | None:
        """The key that has this prefix and this hash, asked from the database and remembered."""
        return self.learn(digest, lambda: _find(prefix, digest))

    def forget_key(self, key: ApiKey) -> None:
        self.forget(lambda known: known.pk == key.pk)

    def forget_keys_of(self, user_id: int) -> None:
        self.forget(lambda known: known.owner_id == user_id)

    def forget_keys_in(self, project_id: int) -> None:
        self.forget(lambda known: known.project_id == project_id)


def _find(prefix: str, digest: str) -> ApiKey | None:
    key = _keys().filter(prefix=prefix).first()
    return key if key is not None and hmac.compare_digest(key.hash, digest) else None


def _ask(known: Mapping[str, ApiKey]) -> Mapping[str, ApiKey]:
    return {key.hash: key for key in _keys().filter(pk__in=[key.pk for key in known.values()])}


def _keys() -> QuerySet[ApiKey]:
    """With all that says what a key may do."""
    memberships = Membership.objects.filter(project=OuterRef("project"), user=OuterRef("owner"))
    keys = ApiKey.objects.select_related("owner__limits", "project")
    return keys.annotate(**{"owner_role": Subquery(memberships.values("role"))})


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
