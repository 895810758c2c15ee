"""/api/v1/me: whom a key or token stands for, and what it may do."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from apikeys.models import Membership
from console.api.credentials import caller_of, person_of, projects_of
from console.api.openapi import describes
from console.api.view import ManagementViewSet
from console.models import User
from serving.openapi import INTEGER, NULLABLE_STRING, STRING, json_array, json_object


class MembershipSerializer(serializers.ModelSerializer[Membership]):
    id = serializers.IntegerField(source="project_id")
    name = serializers.CharField(source="project")

    class Meta:
        model = Membership
        fields = ("id", "name", "role")


CREDENTIAL = json_object(
    {
        "key": {"type": "integer", "nullable": True},
        "session": NULLABLE_STRING,
        "project": INTEGER,
        "scopes": json_array(STRING),
    }
)


class MeSerializer(serializers.ModelSerializer[User]):
    is_administrator = serializers.BooleanField(source="is_superuser")
    projects = serializers.SerializerMethodField()
    credential = serializers.SerializerMethodField()

    class Meta:
        model = User
        fields = ("id", "email", "is_administrator", "date_joined", "projects", "credential")

    @extend_schema_field(MembershipSerializer(many=True))
    def get_projects(self, user: User) -> list[dict[str, Any]]:
        reachable = projects_of(self.context["request"])
        memberships = Membership.objects.filter(user=user, project__in=reachable).select_related("project")
        return list(MembershipSerializer(memberships, many=True).data)

    @extend_schema_field(CREDENTIAL)
    def get_credential(self, user: User) -> dict[str, Any]:
        """``key`` and ``session`` are null for a browser that has signed in."""
        caller = caller_of(self.context["request"])
        return {
            "key": caller.key_id,
            "session": caller.session,
            "project": caller.project_id,
            "scopes": sorted(caller.scopes),
        }


class MeViewSet(ManagementViewSet):
    serializer_class = MeSerializer

    @describes(
        "get_me",
        "Whom this key or token stands for",
        MeSerializer,
        tag="Me",
        answered={
            "id": 3,
            "email": "grace@example.com",
            "is_administrator": False,
            "date_joined": "2026-05-20T12:00:00Z",
            "projects": [{"id": 4, "name": "Personal", "role": "owner"}],
            "credential": {"key": 7, "session": None, "project": 4, "scopes": ["inference", "manage:read"]},
        },
    )
    def retrieve(self, request: Request) -> Response:
        return Response(self.get_serializer(person_of(request)).data)
