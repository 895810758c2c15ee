"""For statements that the ORM does not write."""

from __future__ import annotations

from typing import Any

from django.db import connection
from django.db.models import Model


def in_database(model: type[Model], name: str, value: Any) -> Any:
    """``value`` as the column of the field ``name`` takes it: a UUID, a time or an address is text in one
    database, and not in the other."""
    return model._meta.get_field(name).get_db_prep_save(value, connection)  # type: ignore[union-attr]
