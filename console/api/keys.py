"""/api/v1/keys: keys of the projects that one is in."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.exceptions import ValidationError as InvalidColumns
from django.db.models import Q, QuerySet
from django.utils import timezone
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.fields import get_error_detail
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.request import Request
from rest_framework.response import Response

from apikeys import keys
from apikeys.bounds import LIMIT_NAMES
from apikeys.errors import PermissionDenied
from apikeys.models import ApiKey
from apikeys.roles import may, role_in
from apikeys.scopes import DEFAULT_SCOPES, SCOPES
from apikeys.validation import validate_networks
from console.api.credentials import actor_of, caller_of, person_of, projects_of
from console.api.errors import Conflict
from console.api.parsing import ListQuery, Strict, StrictSerializer
from console.api.view import ManagementViewSet

DAY = 24 * 3600
ORDERINGS = [sign + by for by in ("created_at", "name", "expires_at", "last_used_at") for sign in ("", "-")]
SETTABLE = ("name", "notes", "scopes", "models", "networks", "expires_at", *LIMIT_NAMES)


class KeyListQuery(ListQuery):
    project = serializers.IntegerField(required=False)
    owner = serializers.IntegerField(required=False)
    status = serializers.ChoiceField(choices=["active", "expired", "revoked"], required=False)
    search = serializers.CharField(required=False, max_length=100, help_text="In name, notes and prefix.")
    ordering = serializers.ChoiceField(choices=ORDERINGS, default="-created_at")


class KeySerializer(Strict, serializers.ModelSerializer[ApiKey]):
    scopes = serializers.ListField(
        child=serializers.ChoiceField(choices=list(SCOPES)),
        required=False,
        help_text="What it may be used for.",
    )
    models = serializers.ListField(
        child=serializers.CharField(max_length=200), required=False, help_text="Names; none: all."
    )
    networks = serializers.ListField(
        child=serializers.CharField(max_length=50),
        required=False,
        validators=[validate_networks],
        help_text="From where it may be used, as in 203.0.113.0/24; none: from everywhere.",
    )
    status = serializers.ChoiceField(choices=["active", "expired", "revoked"], read_only=True)

    class Meta:
        model = ApiKey
        fields = (
            "id", "project", "owner", "prefix", "status", *SETTABLE,
            "created_at", "revoked_at", "last_used_at", "last_used_ip", "replaced_by",
        )  # fmt: skip
        read_only_fields = tuple(name for name in fields if name not in SETTABLE)

    def validate_scopes(self, scopes: list[str]) -> list[str]:
        """Nobody gives what they do not have."""
        lacking = sorted(set(scopes) - caller_of(self.context["request"]).scopes)
        if lacking:
            raise ValidationError(f"Not yours to give: {', '.join(lacking)}.")
        return scopes

    def validate_expires_at(self, moment: Any) -> Any:
        if moment is not None and moment <= timezone.now():
            raise ValidationError("This is in the past.")
        return moment


class MintSerializer(KeySerializer):
    """``key`` is in the answer, this once."""

    key = serializers.CharField(read_only=True, help_text="The key itself: it is not shown again.")
    scopes = serializers.ListField(
        child=serializers.ChoiceField(choices=list(SCOPES)),
        default=list(DEFAULT_SCOPES),
        help_text="What it may be used for.",
    )

    class Meta(KeySerializer.Meta):
        fields = (*KeySerializer.Meta.fields, "key")
        read_only_fields = tuple(name for name in KeySerializer.Meta.read_only_fields if name != "project")
        extra_kwargs = {"project": {"required": False, "help_text": "The personal one when left out."}}

    def get_fields(self) -> Any:
        fields: Any = super().get_fields()
        fields["project"].queryset = projects_of(self.context["request"])
        return fields


class RotateSerializer(StrictSerializer):
    grace_seconds = serializers.IntegerField(
        min_value=0, max_value=30 * DAY, default=DAY, help_text="For so long the old key goes on working."
    )


class KeysViewSet(ListModelMixin, RetrieveModelMixin, ManagementViewSet):
    serializer_class = KeySerializer

    def get_queryset(self) -> QuerySet[ApiKey]:
        return ApiKey.objects.filter(project__in=projects_of(self.request))

    def filter_queryset(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.action != "list":
            return queryset
        asked = self.asked(KeyListQuery, self.request.query_params.dict())
        queryset = queryset.filter(**{name: asked[name] for name in ("project", "owner") if name in asked})
        if "status" in asked:
            queryset = queryset.filter(_with_status(asked["status"]))
        if text := asked.get("search"):
            found = Q(name__icontains=text) | Q(notes__icontains=text) | Q(prefix__startswith=text)
            queryset = queryset.filter(found)
        return queryset.order_by(asked["ordering"], "pk")

    def create(self, request: Request) -> Response:
        reader = MintSerializer(data=request.data, context=self.get_serializer_context())
        reader.is_valid(raise_exception=True)
        asked = dict(reader.validated_data)
        project = asked.pop("project", None) or self._own_project()
        if not may(role_in(project, person_of(request)), "use"):
            raise PermissionDenied("Your role in this project does not let you mint keys.")
        try:
            key, plaintext = keys.mint(person_of(request), project=project, by=actor_of(request), **asked)
        except InvalidColumns as error:
            raise ValidationError(get_error_detail(error)) from error
        return self._minted(key, plaintext)

    def partial_update(self, request: Request, pk: str) -> Response:
        key = self._to_change()
        reader = KeySerializer(key, data=request.data, partial=True, context=self.get_serializer_context())
        reader.is_valid(raise_exception=True)
        if key.status != "active":
            raise Conflict(f"The key is {key.status}.")
        try:
            keys.edit(key, by=actor_of(request), **reader.validated_data)
        except InvalidColumns as error:
            raise ValidationError(get_error_detail(error)) from error
        return Response(self.get_serializer(key).data)

    def destroy(self, request: Request, pk: str) -> Response:
        """Revokes it; what it has used stays. Doing so again changes nothing."""
        keys.revoke(self._to_change(), by=actor_of(request))
        return Response(status=204)

    def rotate(self, request: Request, pk: str) -> Response:
        key = self._to_change()
        grace = timedelta(seconds=self.asked(RotateSerializer, request.data)["grace_seconds"])
        try:
            return self._minted(*keys.rotate(key, grace, by=actor_of(request)))
        except InvalidColumns as error:
            raise Conflict(error.messages[0]) from error

    def _own_project(self) -> Any:
        return projects_of(self.request).get(pk=caller_of(self.request).project_id)

    def _to_change(self) -> ApiKey:
        """One's own key, or any key of a project that one manages. Raises PermissionDenied."""
        key: ApiKey = self.get_object()
        person = person_of(self.request)
        role = role_in(key.project, person)
        if not may(role, "manage") and not (may(role, "use") and key.owner_id == person.pk):
            raise PermissionDenied("Your role in this project does not let you change this key.")
        return key

    def _minted(self, key: ApiKey, plaintext: str) -> Response:
        key.key = plaintext  # type: ignore[attr-defined]  # for the serializer; the column holds a hash
        data = MintSerializer(key, context=self.get_serializer_context()).data
        return Response(data, status=201, headers={"Location": f"/api/v1/keys/{key.pk}"})


def _with_status(status: str) -> Q:
    ended = Q(expires_at__lte=timezone.now())
    match status:
        case "revoked":
            return Q(revoked_at__isnull=False)
        case "expired":
            return Q(revoked_at=None) & ended
        case _:
            return Q(revoked_at=None) & ~ended
