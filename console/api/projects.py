"""/api/v1/projects: those that one is in, their settings and limits."""

from __future__ import annotations

from typing import Any, cast

from django.core.exceptions import ValidationError as Invalid
from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.fields import get_error_detail
from rest_framework.mixins import ListModelMixin
from rest_framework.request import Request
from rest_framework.response import Response

from apikeys import projects
from apikeys.bounds import LIMIT_NAMES
from apikeys.errors import PermissionDenied
from apikeys.models import Project, Role
from apikeys.projects import SETTINGS
from apikeys.roles import Permission, may, role_in
from console.api.credentials import actor_of, caller_of, person_of, projects_of
from console.api.errors import Conflict
from console.api.openapi import describes
from console.api.parsing import ListQuery, Strict
from console.api.view import ManagementViewSet
from console.projects import Place

TAG = "Projects"


def place_of(request: Request, project_id: str, permission: Permission) -> Place:
    """404 for a project that is out of reach, PermissionDenied for what one's role there does not allow."""
    project, person = get_object_or_404(projects_of(request), pk=project_id), person_of(request)
    role = cast(Role, role_in(project, person))
    if not may(role, permission):
        raise PermissionDenied(f"Your role in this project, {role}, does not let you do this.")
    return Place(project, role, person)


class ProjectListQuery(ListQuery):
    search = serializers.CharField(required=False, max_length=100, help_text="In the name.")
    ordering = serializers.ChoiceField(choices=["name", "-name", "created_at", "-created_at"], default="name")


class ProjectSerializer(Strict, serializers.ModelSerializer[Project]):
    """``role`` is one's own. ``tier`` says who is served first under load: for administrators to set."""

    name = serializers.CharField(max_length=100)
    personal = serializers.SerializerMethodField(help_text="Whether it came with an account.")
    role = serializers.SerializerMethodField()

    class Meta:
        model = Project
        fields = ("id", "personal", "role", *SETTINGS, "created_at")
        read_only_fields = ("id", "created_at")

    def get_personal(self, project: Project) -> bool:
        return project.personal_of_id is not None

    def get_role(self, project: Project) -> str:
        return role_in(project, person_of(self.context["request"])) or ""

    def validate_tier(self, tier: str) -> str:
        if not person_of(self.context["request"]).is_superuser:
            raise ValidationError("For administrators of the site to set.")
        return tier

    def validate_name(self, name: str) -> str:
        if self.instance is not None and self.instance.personal_of_id is not None:
            raise ValidationError("A personal project has no name of its own.")
        return name


PROJECT: dict[str, Any] = {
    "id": 5,
    "personal": False,
    "role": "owner",
    "name": "Research",
    "tier": "normal",
    "keeps_content": False,
    **dict.fromkeys(LIMIT_NAMES),
    "created_at": "2026-05-20T12:00:00Z",
}


class ProjectsViewSet(ListModelMixin, ManagementViewSet):
    serializer_class = ProjectSerializer

    def get_queryset(self) -> QuerySet[Project]:
        return projects_of(self.request)

    def filter_queryset(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        asked = self.asked(ProjectListQuery, self.request.query_params.dict())
        return queryset.filter(name__icontains=asked.get("search", "")).order_by(asked["ordering"], "pk")

    @describes(
        "list_projects", "One's projects", ProjectSerializer(many=True), tag=TAG, query=[ProjectListQuery]
    )
    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return super().list(request, *args, **kwargs)

    @describes("get_project", "One of them", ProjectSerializer, tag=TAG, refused=(404,), answered=PROJECT)
    def retrieve(self, request: Request, pk: str) -> Response:
        return self._answer(place_of(request, pk, "view").project)

    @describes(
        "create_project",
        "Create a project, and own it",
        ProjectSerializer,
        tag=TAG,
        status=201,
        body=ProjectSerializer,
        asked={"name": "Research"},
        answered=PROJECT,
    )
    def create(self, request: Request) -> Response:
        if caller_of(request).key_id is not None:
            raise PermissionDenied("A key acts in its own project alone. Sign in to create another one.")
        asked = self._settings(request)
        project = projects.create(asked.pop("name"), person_of(request), by=actor_of(request))
        if asked:
            self._edit(project, asked)
        return self._answer(project, 201)

    @describes(
        "change_project",
        "Change a project's settings and limits, in the fields that are sent",
        ProjectSerializer,
        tag=TAG,
        body=ProjectSerializer(partial=True),
        refused=(404,),
        asked={"daily_tokens": 1_000_000},
        answered={**PROJECT, "daily_tokens": 1_000_000},
    )
    def partial_update(self, request: Request, pk: str) -> Response:
        project = place_of(request, pk, "manage").project
        self._edit(project, self._settings(request, project))
        return self._answer(project)

    @describes("delete_project", "Delete a project and its keys", tag=TAG, status=204, refused=(404, 409))
    def destroy(self, request: Request, pk: str) -> Response:
        project = place_of(request, pk, "own").project
        try:
            projects.delete(project, by=actor_of(request))
        except Invalid as error:
            raise Conflict(" ".join(error.messages)) from error
        return Response(status=204)

    def _settings(self, request: Request, project: Project | None = None) -> dict[str, Any]:
        reader = self.get_serializer(project, data=request.data, partial=project is not None)
        reader.is_valid(raise_exception=True)
        return dict(reader.validated_data)

    def _edit(self, project: Project, asked: dict[str, Any]) -> None:
        try:
            projects.edit(project, by=actor_of(self.request), **asked)
        except Invalid as error:
            raise ValidationError(get_error_detail(error)) from error

    def _answer(self, project: Project, status: int = 200) -> Response:
        headers = {"Location": f"/api/v1/projects/{project.pk}"} if status == 201 else None
        return Response(self.get_serializer(project).data, status=status, headers=headers)
