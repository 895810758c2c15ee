"""/api/v1/keys: keys of the projects that one is in."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.exceptions import ValidationError as InvalidColumns
from django.db.models import Q, QuerySet
from django.utils import timezone
from rest_framework.exceptions import ValidationError
from rest_framework.fields import get_error_detail
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.request import Request
from rest_framework.response import Response

from apikeys import keys, signatures
from apikeys.errors import PermissionDenied
from apikeys.models import ApiKey
from apikeys.roles import may, may_edit, role_in
from console.api.credentials import actor_of, caller_of, person_of, projects_of
from console.api.errors import Conflict
from console.api.key_serializers import (
    CHANGED,
    KEY,
    MINTED,
    ChangeSerializer,
    KeyListQuery,
    KeySerializer,
    MintSerializer,
    RotateSerializer,
)
from console.api.openapi import describes
from console.api.view import ManagementViewSet

TAG = "Keys"


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

    @describes("list_keys", "Keys of one's projects", KeySerializer(many=True), tag=TAG, query=[KeyListQuery])
    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return super().list(request, *args, **kwargs)

    @describes("get_key", "One of them", KeySerializer, tag=TAG, refused=(404,), answered=KEY)
    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return super().retrieve(request, *args, **kwargs)

    @describes(
        "mint_key",
        "Mint a key: the answer shows it, this once",
        MintSerializer,
        tag=TAG,
        status=201,
        body=MintSerializer,
        asked={"name": "CI", "scopes": ["inference"], "daily_tokens": 100_000},
        answered=MINTED,
    )
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

    @describes(
        "change_key",
        "Change a key, in the fields that are sent",
        ChangeSerializer,
        tag=TAG,
        body=KeySerializer,
        refused=(404, 409),
        asked={"name": "builds", "networks": ["10.0.0.0/8"]},
        answered=CHANGED,
    )
    def partial_update(self, request: Request, pk: str) -> Response:
        key = self._to_change()
        reader = KeySerializer(key, data=request.data, partial=True, context=self.get_serializer_context())
        reader.is_valid(raise_exception=True)
        if key.status != "active":
            raise Conflict(f"The key is {key.status}.")
        was_signed = key.signed
        try:
            keys.edit(key, by=actor_of(request), **reader.validated_data)
        except InvalidColumns as error:
            raise ValidationError(get_error_detail(error)) from error
        key.signing_secret = _signing_secret(key, key.signed and not was_signed)  # type: ignore[attr-defined]
        return Response(ChangeSerializer(key, context=self.get_serializer_context()).data)

    @describes("revoke_key", "Revoke a key", tag=TAG, status=204, refused=(404,))
    def destroy(self, request: Request, pk: str) -> Response:
        """Revokes it; what it has used stays. Doing so again changes nothing."""
        keys.revoke(self._to_change(), by=actor_of(request))
        return Response(status=204)

    @describes(
        "rotate_key",
        "Replace a key: the old one goes on for a while",
        MintSerializer,
        tag=TAG,
        status=201,
        body=RotateSerializer,
        refused=(404, 409),
        asked={"grace_seconds": 3600},
        answered=MINTED,
    )
    def rotate(self, request: Request, pk: str) -> Response:
        key = self._to_change()
        if lacking := sorted(set(key.scopes) - caller_of(request).scopes):
            raise PermissionDenied(f"The key may do what you may not: {', '.join(lacking)}.")
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
        if not may_edit(role_in(key.project, person), key, person):
            raise PermissionDenied("Your role in this project does not let you change this key.")
        return key

    def _minted(self, key: ApiKey, plaintext: str) -> Response:
        key.key = plaintext  # type: ignore[attr-defined]  # for the serializer; the column holds a hash
        key.signing_secret = _signing_secret(key, key.signed)  # type: ignore[attr-defined]
        data = MintSerializer(key, context=self.get_serializer_context()).data
        return Response(data, status=201, headers={"Location": f"/api/v1/keys/{key.pk}"})


def _signing_secret(key: ApiKey, is_new: bool) -> str | None:
    return signatures.secret_of(key) if is_new else None


def _with_status(status: str) -> Q:
    ended = Q(expires_at__lte=timezone.now())
    match status:
        case "revoked":
            return Q(revoked_at__isnull=False)
        case "expired":
            return Q(revoked_at=None) & ended
        case _:
            return Q(revoked_at=None) & ~ended
