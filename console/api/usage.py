"""/api/v1/usage: what was used, added up by moment, key, model or project."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from django.shortcuts import get_object_or_404
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from apikeys.errors import PermissionDenied
from apikeys.usage import queries
from apikeys.usage.filters import RANGES, SOURCES, STEPS, UsageFilters, parse_filters
from apikeys.usage.totals import Totals
from console.api.credentials import caller_of, person_of, projects_of
from console.api.openapi import describes
from console.api.parsing import ListQuery, id_field
from console.api.view import ManagementViewSet

GROUPS = {"start": "start", "key": "key_id", "model": "model", "project": "project_id", "source": "source"}
SUMS = (
    "requests",
    "errors",
    "prompt_tokens",
    "completion_tokens",
    "cost",
    "compute_seconds",
    "mean_duration_ms",
)


class GroupsField(serializers.CharField):
    """Names with commas between."""

    def to_internal_value(self, data: Any) -> Any:
        names = list(dict.fromkeys(super().to_internal_value(data).split(",")))
        unknown = [name for name in names if name not in GROUPS]
        if unknown:
            raise ValidationError(f"“{unknown[0]}” is none of {', '.join(GROUPS)}.")
        return names


class UsageQuery(ListQuery):
    group_by = GroupsField(
        required=False,
        help_text="Some of start, key, model, project, source, with commas between; start when left out.",
    )
    range = serializers.ChoiceField(choices=list(RANGES), required=False, help_text="Until now.")
    vars()["from"] = serializers.DateField(required=False, help_text="The first day, in UTC.")
    to = serializers.DateField(required=False, help_text="The last day, in UTC.")
    project = id_field("All usage of it; one's own when left out.")
    key = id_field()
    model = serializers.CharField(required=False, max_length=200)
    source = serializers.ChoiceField(choices=list(SOURCES), required=False)  # type: ignore[assignment]
    people = serializers.ChoiceField(
        choices=["all"], required=False, help_text="Everybody's, for an administrator of the site."
    )
    ordering = serializers.ChoiceField(
        choices=[sign + name for name in ("start", "requests", "cost") for sign in ("", "-")],
        default="-requests",
        help_text="By start needs to be grouped by it.",
    )


class SumsSerializer(serializers.Serializer[Any]):
    """Over some requests."""

    requests = serializers.IntegerField()
    errors = serializers.IntegerField()  # type: ignore[assignment]
    prompt_tokens = serializers.IntegerField()
    completion_tokens = serializers.IntegerField()
    cost = serializers.DecimalField(max_digits=None, decimal_places=None, help_text="In the site's currency.")
    compute_seconds = serializers.FloatField()
    mean_duration_ms = serializers.IntegerField()


class UsageRowSerializer(SumsSerializer):
    """With what it is grouped by."""

    start = serializers.DateTimeField(required=False)
    key = serializers.IntegerField(required=False, allow_null=True, help_text="Null: no key was used.")
    model = serializers.CharField(required=False)
    project = serializers.IntegerField(required=False)
    source = serializers.CharField(required=False)  # type: ignore[assignment]


class UsageSerializer(serializers.Serializer[Any]):
    """``step`` is the width of one ``start``: the finest that is kept for so long a period."""

    count = serializers.IntegerField()
    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)
    start = serializers.DateTimeField()
    end = serializers.DateTimeField()
    step = serializers.ChoiceField(choices=STEPS)
    totals = SumsSerializer()
    results = UsageRowSerializer(many=True)


EXAMPLE: dict[str, Any] = {
    "count": 1,
    "next": None,
    "previous": None,
    "start": "2026-05-14T00:00:00Z",
    "end": "2026-05-21T00:00:00Z",
    "step": "day",
    "totals": {
        "requests": 12,
        "errors": 1,
        "prompt_tokens": 3400,
        "completion_tokens": 2100,
        "cost": "0.0123",
        "compute_seconds": 9.5,
        "mean_duration_ms": 800,
    },
}
EXAMPLE["results"] = [{"model": "smollm2-135m-instruct", **EXAMPLE["totals"]}]


class UsageViewSet(ManagementViewSet):
    @describes(
        "get_usage",
        "What was used, added up",
        UsageSerializer,
        tag="Usage",
        query=[UsageQuery],
        refused=(404,),
        answered=EXAMPLE,
    )
    def retrieve(self, request: Request) -> Response:
        asked = self.asked(UsageQuery, request.query_params.dict())
        filters = self._filters(request, asked)
        groups = asked.get("group_by", ["start"])
        descending, by = asked["ordering"].startswith("-"), asked["ordering"].lstrip("-")
        if by == "start" and "start" not in groups:
            raise ValidationError({"ordering": "Usage is not grouped by start."})
        found = queries.usage_by(filters, *(GROUPS[name] for name in groups))
        rows = [dict(zip(groups, whose, strict=True)) | _sums(totals) for whose, totals in found.items()]
        rows.sort(key=lambda row: row[by], reverse=descending)
        page = self.paginate_queryset(rows)
        whole = self.get_paginated_response(page).data
        period = {"start": filters.start, "end": filters.end, "step": filters.step}
        totals = _sums(sum(found.values(), Totals()))
        return Response(UsageSerializer({**whole, **period, "totals": totals}).data)

    def _filters(self, request: Request, asked: dict[str, Any]) -> UsageFilters:
        """One's own; of a project that one may see, or whose key this is, all. As the page does it."""
        caller, person = caller_of(request), person_of(request)
        everybody = asked.get("people") == "all"
        if everybody and not (person.is_superuser and caller.key_id is None):
            raise PermissionDenied("Everybody's usage is for administrators of the site.")
        filters, problems = parse_filters(request.query_params.dict(), None if everybody else person.pk)
        if problems:
            raise ValidationError({"from": problems})
        project = asked.get("project") or (caller.project_id if caller.key_id is not None else None)
        if project is None:
            return filters
        return replace(
            filters, user_id=None, project_id=get_object_or_404(projects_of(request), pk=project).pk
        )


def _sums(totals: Totals) -> dict[str, Any]:
    return {name: getattr(totals, name) for name in SUMS}
