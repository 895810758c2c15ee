"""Bodies and queries, read strictly: what nobody knows is refused by name, not passed over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any, cast

from django.db.models import BigIntegerField
from rest_framework import serializers
from rest_framework.parsers import JSONParser

from serving.schemas import parse_json


class StrictParser(JSONParser):
    """JSON as /v1 reads it: no NaN, no depth that breaks the parser."""

    def parse(
        self,
        stream: IO[bytes],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        return parse_json(stream.read())


class Strict:
    """For serializers: refuses fields that there are not, or that cannot be set."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, Mapping):
            fields = cast(serializers.Serializer[Any], self).fields
            names = {name for name, field in fields.items() if not field.read_only}
            unknown = [name for name in data if name not in names]
            if unknown:
                raise serializers.ValidationError(dict.fromkeys(unknown, "There is no such field to set."))
        return super().to_internal_value(data)  # type: ignore[misc]


class StrictSerializer(Strict, serializers.Serializer[Any]):
    pass


def id_field(about: str = "") -> serializers.IntegerField:
    """Which row; one that no database can count to is refused here."""
    return serializers.IntegerField(
        required=False, min_value=1, max_value=BigIntegerField.MAX_BIGINT, help_text=about
    )


class ListQuery(StrictSerializer):
    """What may be asked of every list."""

    page = serializers.IntegerField(min_value=1, max_value=1_000_000, required=False)
    page_size = serializers.IntegerField(min_value=1, max_value=100, default=20)
