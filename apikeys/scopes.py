"""What a key may be used for: one scope for each group of endpoints."""

from __future__ import annotations

from typing import Literal

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

Scope = Literal["inference", "files", "manage:read", "manage:write"]

SCOPES: dict[Scope, Promise] = {
    "inference": _("Ask the models: chat, completions, messages, responses, embeddings, tokens"),
    "files": _("Files and batches"),
    "manage:read": _("Read projects, members, keys, limits and usage"),
    "manage:write": _("Change projects, members, keys and limits"),
}
DEFAULT_SCOPES: tuple[Scope, ...] = ("inference", "files")


def default_scopes() -> list[str]:
    """What a key has when nobody says otherwise."""
    return list(DEFAULT_SCOPES)
