"""/api/v1/audit: what was changed, by whom, in the projects that one manages."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.mixins import ListModelMixin
from rest_framework.request import Request
from rest_framework.response import Response

from apikeys.models import AuditEntry
from apikeys.roles import MAY
from console.api.credentials import caller_of, person_of, projects_of
from console.api.openapi import describes
from console.api.parsing import ListQuery, id_field
from console.api.view import ManagementViewSet

COLUMNS = {
    "project": "project_id",
    "actor": "actor_id",
    "action": "action",
    "since": "at__gte",
    "until": "at__lt",
}


class AuditListQuery(ListQuery):
    project = id_field()
    actor = id_field("Who has done it.")
    action = serializers.CharField(required=False, max_length=64, help_text="As in key.mint.")
    since = serializers.DateTimeField(required=False)
    until = serializers.DateTimeField(required=False)


class AuditEntrySerializer(serializers.ModelSerializer[AuditEntry]):
    """``before`` and ``after`` say what differs; ``hash`` covers the entry and the hash before it."""

    actor = serializers.IntegerField(source="actor_id", allow_null=True)
    project = serializers.IntegerField(source="project_id", allow_null=True)

    class Meta:
        model = AuditEntry
        fields = (
            "id", "at", "actor", "actor_name", "address", "source", "action", "subject", "project",
            "before", "after", "previous_hash", "hash",
        )  # fmt: skip


class AuditViewSet(ListModelMixin, ManagementViewSet):
    serializer_class = AuditEntrySerializer

    def get_queryset(self) -> QuerySet[AuditEntry]:
        """An administrator sees all, also what belongs to no project or to one that is gone."""
        person = person_of(self.request)
        if person.is_superuser and caller_of(self.request).key_id is None:
            return AuditEntry.objects.order_by("-pk")
        managing = [role for role, permissions in MAY.items() if "manage" in permissions]
        managed = projects_of(self.request)
        if not person.is_superuser:
            managed = managed.filter(memberships__user=person, memberships__role__in=managing)
        return AuditEntry.objects.filter(project_id__in=managed.values("pk")).order_by("-pk")

    def filter_queryset(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        asked = self.asked(AuditListQuery, self.request.query_params.dict())
        return queryset.filter(**{COLUMNS[name]: value for name, value in asked.items() if name in COLUMNS})

    @describes(
        "list_audit_entries",
        "What was changed, the newest first",
        AuditEntrySerializer(many=True),
        tag="Audit",
        query=[AuditListQuery],
    )
    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return super().list(request, *args, **kwargs)
