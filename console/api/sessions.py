"""/api/v1/sessions: access tokens, for people and programs that should not hold a key."""

from __future__ import annotations

import time
from typing import Any, cast

from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.exceptions import NotAuthenticated, ValidationError
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from apikeys.auth import Caller
from apikeys.errors import InvalidApiKey, PermissionDenied
from apikeys.jwt import known, sessions
from apikeys.jwt.claims import looks_like_token
from apikeys.jwt.sessions import Tokens, allowed_scopes
from apikeys.models import ApiKey, Project, TokenSession
from apikeys.projects import personal_project
from apikeys.roles import role_in
from apikeys.scopes import SCOPES
from console.api.credentials import caller_of, person_of
from console.api.openapi import describes
from console.api.parsing import ListQuery, StrictSerializer, id_field
from console.api.sign_in import sign_in
from console.api.view import ManagementViewSet
from console.models import User

TAG = "Sessions"


class OpenSessionSerializer(StrictSerializer):
    """Who signs in, or with a key nothing of that; and for what."""

    email = serializers.EmailField(required=False, help_text="With `password`: who signs in.")
    password = serializers.CharField(required=False, trim_whitespace=False, max_length=4096)
    project = id_field("Whose limits and usage; the personal one when left out. A key has its own.")
    scopes = serializers.ListField(
        child=serializers.ChoiceField(choices=list(SCOPES)),
        required=False,
        allow_empty=False,
        help_text="What the tokens are to be good for; all that the key or the person may when left out.",
    )


class RefreshSerializer(StrictSerializer):
    """What the last answer gave."""

    refresh_token = serializers.CharField(max_length=200)


class RevokeSerializer(StrictSerializer):
    """What is to end."""

    token = serializers.CharField(
        max_length=4096, help_text="An access token ends alone; with a refresh token its whole session ends."
    )


class SessionSerializer(serializers.ModelSerializer[TokenSession]):
    """What is kept of a session: none of its tokens."""

    id = serializers.CharField(source="sid")
    current = serializers.SerializerMethodField(help_text="Whether this request came with a token of it.")

    class Meta:
        model = TokenSession
        fields = (
            "id", "project", "key", "scopes", "client", "created_at", "refreshed_at", "expires_at", "current",
        )  # fmt: skip

    def get_current(self, session: TokenSession) -> bool:
        auth = self.context["request"].auth
        return auth is not None and auth.session == session.sid


class TokensSerializer(serializers.Serializer[Tokens]):
    """As RFC 6749 has it, and the session."""

    access_token = serializers.CharField(source="access")
    token_type = serializers.CharField(default="Bearer", read_only=True)
    expires_in = serializers.SerializerMethodField(help_text="Seconds.")
    refresh_token = serializers.CharField(source="refresh", help_text="Good once.")
    scope = serializers.SerializerMethodField()
    session = SessionSerializer()

    def get_expires_in(self, tokens: Tokens) -> int:
        return tokens.claims.expires_at - int(time.time())

    def get_scope(self, tokens: Tokens) -> str:
        return " ".join(sorted(tokens.claims.scopes))


SESSION = {
    "id": "5f0e6c1d2a3b4c5d6e7f8091a2b3c4d5",
    "project": 4,
    "key": None,
    "scopes": ["inference"],
    "client": "curl/8.5.0",
    "created_at": "2026-05-20T12:00:00Z",
    "refreshed_at": "2026-05-20T12:00:00Z",
    "expires_at": "2026-06-19T12:00:00Z",
    "current": False,
}
REVOKED = {"token": "eyJhbGciOiJFUzI1NiIsImtpZCI6IlJr…"}
TOKENS = {
    "access_token": "eyJhbGciOiJFUzI1NiIsImtpZCI6IlJr…",
    "token_type": "Bearer",
    "expires_in": 600,
    "refresh_token": "oagr-0123456789abcdef01234567…",
    "scope": "inference",
    "session": SESSION,
}


class SessionsViewSet(ListModelMixin, RetrieveModelMixin, ManagementViewSet):
    serializer_class = SessionSerializer
    lookup_field = "sid"

    def get_permissions(self) -> Any:
        """Whoever holds a credential or a token may use it, whatever its scopes."""
        if self.action in ("create", "refresh", "revoke"):
            return [AllowAny()]
        return super().get_permissions()

    def get_queryset(self) -> QuerySet[TokenSession]:
        return sessions.live(person_of(self.request).pk)

    @describes("list_sessions", "One's sessions", SessionSerializer(many=True), tag=TAG, query=[ListQuery])
    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        self.asked(ListQuery, request.query_params.dict())
        return super().list(request, *args, **kwargs)

    @describes("get_session", "One of them", SessionSerializer, tag=TAG, refused=(404,), answered=SESSION)
    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return super().retrieve(request, *args, **kwargs)

    @describes(
        "open_session",
        "Sign in, or exchange a key, for access tokens",
        TokensSerializer,
        tag=TAG,
        status=201,
        body=OpenSessionSerializer,
        asked={"email": "grace@example.com", "password": "correct horse battery", "scopes": ["inference"]},
        answered=TOKENS,
    )
    def create(self, request: Request) -> Response:
        asked = self.asked(OpenSessionSerializer, request.data)
        caller = cast(Caller | None, request.auth)
        if "email" in asked or "password" in asked:
            tokens = self._open_by_password(request, asked)
        elif caller is None:
            raise NotAuthenticated("Send an API key, or email and password.")
        elif caller.session is not None:
            raise PermissionDenied("An access token opens no session: refresh the one that it belongs to.")
        elif caller.key_id is not None:
            tokens = self._open_with_key(request, asked)
        else:
            tokens = self._open_for(person_of(request), asked)
        return self._answer(tokens, 201)

    @describes(
        "refresh_session",
        "The next tokens of a session",
        TokensSerializer,
        tag=TAG,
        body=RefreshSerializer,
        refused=(401,),
        asked={"refresh_token": "oagr-0123456789abcdef01234567…"},
        answered=TOKENS,
        public=True,
    )
    def refresh(self, request: Request) -> Response:
        return self._answer(
            sessions.refresh(self.asked(RefreshSerializer, request.data)["refresh_token"]), 200
        )

    @describes(
        "revoke_token", "End a token", tag=TAG, status=204, body=RevokeSerializer, asked=REVOKED, public=True
    )
    def revoke(self, request: Request) -> Response:
        """A token that is none, or no longer, is as good as revoked (RFC 7009)."""
        token = self.asked(RevokeSerializer, request.data)["token"]
        try:
            if looks_like_token(token):
                sessions.revoke_token(*known.look_up(token))
            else:
                sessions.revoke(sessions.find(token))
        except InvalidApiKey:
            pass
        return Response(status=204)

    @describes("end_session", "End a session", tag=TAG, status=204, refused=(404,))
    def destroy(self, request: Request, sid: str) -> Response:
        sessions.revoke(self.get_object())
        return Response(status=204)

    @describes("end_sessions", "End all of one's sessions", tag=TAG, status=204)
    def destroy_all(self, request: Request) -> Response:
        sessions.revoke_all(person_of(request).pk)
        return Response(status=204)

    def _open_by_password(self, request: Request, asked: dict[str, Any]) -> Tokens:
        missing = [name for name in ("email", "password") if name not in asked]
        if missing:
            raise ValidationError(dict.fromkeys(missing, "This field is required."))
        user = sign_in(request._request, asked["email"], asked["password"])
        return self._open_for(user, asked)

    def _open_with_key(self, request: Request, asked: dict[str, Any]) -> Tokens:
        if "project" in asked:
            raise ValidationError({"project": "A key has a project already."})
        key = ApiKey.objects.select_related("owner", "project").get(pk=caller_of(request).key_id or 0)
        scopes = _some_of(frozenset(key.scopes), asked)
        return sessions.open_with_key(key, scopes, self._client())

    def _open_for(self, user: User, asked: dict[str, Any]) -> Tokens:
        project = personal_project(user)
        if "project" in asked:
            project = Project.objects.filter(members=user, pk=asked["project"]).first() or project
            if project.pk != asked["project"]:
                raise ValidationError({"project": "You are not in such a project."})
        scopes = _some_of(allowed_scopes(role_in(project, user)), asked)
        return sessions.open_for(user, project, scopes, self._client())

    def _client(self) -> str:
        return self.request.headers.get("User-Agent", "")

    def _answer(self, tokens: Tokens, status: int) -> Response:
        return Response(TokensSerializer(tokens, context=self.get_serializer_context()).data, status=status)


def _some_of(allowed: frozenset[str], asked: dict[str, Any]) -> frozenset[str]:
    scopes = frozenset(asked.get("scopes", allowed))
    if scopes - allowed:
        raise ValidationError({"scopes": f"Not yours to give: {', '.join(sorted(scopes - allowed))}."})
    return scopes
