"""What is said of keys under /api/v1, and what may be asked of them."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.utils import timezone
from rest_framework import serializers
from rest_framework.exceptions import ValidationError

from apikeys.bounds import LIMIT_NAMES
from apikeys.keys import SETTINGS
from apikeys.models import ApiKey, Project
from apikeys.scopes import DEFAULT_SCOPES, SCOPES
from apikeys.validation import validate_networks
from console.api.credentials import caller_of, projects_of
from console.api.parsing import ListQuery, Strict, StrictSerializer, id_field

DAY = 24 * 3600  # seconds
ORDERINGS = [sign + by for by in ("created_at", "name", "expires_at", "last_used_at") for sign in ("", "-")]


class KeyListQuery(ListQuery):
    project = id_field()
    owner = id_field()
    status = serializers.ChoiceField(choices=["active", "expired", "revoked"], required=False)
    search = serializers.CharField(required=False, max_length=100, help_text="In name, notes and prefix.")
    ordering = serializers.ChoiceField(choices=ORDERINGS, default="-created_at")


class KeySerializer(Strict, serializers.ModelSerializer[ApiKey]):
    """What is kept of a key: not the key itself."""

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
    signed = serializers.BooleanField(
        required=False, help_text="Whether its requests must be signed (docs/security.md)."
    )
    caches_answers = serializers.BooleanField(
        required=False, help_text="Whether answers may come from the cache (docs/api.md)."
    )
    status = serializers.ChoiceField(choices=["active", "expired", "revoked"], read_only=True)

    class Meta:
        model = ApiKey
        fields = (
            "id", "project", "owner", "prefix", "status", *SETTINGS,
            "created_at", "revoked_at", "last_used_at", "last_used_ip", "replaced_by",
        )  # fmt: skip
        read_only_fields = tuple(name for name in fields if name not in SETTINGS)

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


class ReachableProject(serializers.PrimaryKeyRelatedField[Project]):
    def get_queryset(self) -> QuerySet[Project]:
        return projects_of(self.context["request"])


class ChangeSerializer(KeySerializer):
    """With what its requests are signed with in the answer, if that was switched on just now."""

    signing_secret = serializers.CharField(
        read_only=True, allow_null=True, help_text="What its requests are signed with: it is not shown again."
    )

    class Meta(KeySerializer.Meta):
        fields = (*KeySerializer.Meta.fields, "signing_secret")


class MintSerializer(ChangeSerializer):
    """With the key itself in the answer, this once."""

    project = ReachableProject(
        queryset=Project.objects.all(),
        required=False,
        help_text="The key's own, or the personal one, when left out.",
    )
    key = serializers.CharField(read_only=True, help_text="The key itself: it is not shown again.")
    scopes = serializers.ListField(
        child=serializers.ChoiceField(choices=list(SCOPES)),
        default=list(DEFAULT_SCOPES),
        help_text="What it may be used for.",
    )

    class Meta(ChangeSerializer.Meta):
        fields = (*ChangeSerializer.Meta.fields, "key")
        read_only_fields = tuple(name for name in KeySerializer.Meta.read_only_fields if name != "project")


class RotateSerializer(StrictSerializer):
    """How a key is replaced."""

    grace_seconds = serializers.IntegerField(
        min_value=0, max_value=30 * DAY, default=DAY, help_text="For so long the old key goes on working."
    )


KEY = {
    "id": 7,
    "project": 4,
    "owner": 3,
    "prefix": "oag-1X2y3Z4w",
    "status": "active",
    "name": "CI",
    "notes": "",
    "scopes": ["inference", "files"],
    "models": [],
    "networks": [],
    "signed": False,
    "caches_answers": False,
    "expires_at": None,
    **dict.fromkeys(LIMIT_NAMES),
    "created_at": "2026-05-20T12:00:00Z",
    "revoked_at": None,
    "last_used_at": None,
    "last_used_ip": None,
    "replaced_by": None,
}
CHANGED = {**KEY, "name": "builds", "networks": ["10.0.0.0/8"], "signing_secret": None}
MINTED = {**KEY, "signing_secret": None, "key": "oag-1X2y3Z4w…"}
