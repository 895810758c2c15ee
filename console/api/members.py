"""/api/v1/projects/{id}/members and …/invitations: who belongs to a project, and who is asked to."""

from __future__ import annotations

from typing import cast

from django.core.exceptions import ValidationError as Invalid
from django.shortcuts import get_object_or_404
from django.urls import reverse
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from apikeys import project_invitations, projects
from apikeys.errors import PermissionDenied
from apikeys.models import Membership, ProjectInvitation, Role
from apikeys.models.projects import ROLES
from apikeys.roles import may_give
from console.api.credentials import actor_of, person_of
from console.api.errors import Conflict
from console.api.openapi import describes
from console.api.parsing import ListQuery, StrictSerializer
from console.api.projects import place_of
from console.api.view import ManagementViewSet

TAG = "Projects"


class MemberListQuery(ListQuery):
    role = serializers.ChoiceField(choices=ROLES, required=False)


class RoleSerializer(StrictSerializer):
    """What somebody is to be."""

    role = serializers.ChoiceField(choices=ROLES)


class InviteSerializer(RoleSerializer):
    """Who is to join, and as what."""

    email = serializers.EmailField()


class MemberSerializer(serializers.ModelSerializer[Membership]):
    """Somebody in a project."""

    email = serializers.EmailField(source="user.email")

    class Meta:
        model = Membership
        fields = ("id", "user", "email", "role", "created_at")


class InvitationSerializer(serializers.ModelSerializer[ProjectInvitation]):
    """Open until it is accepted or expires."""

    class Meta:
        model = ProjectInvitation
        fields = ("id", "email", "role", "created_at", "expires_at")


class InvitedSerializer(InvitationSerializer):
    """With the link, this once."""

    link = serializers.URLField(help_text="Pass it on: it is not shown again, and no mail is sent.")

    class Meta(InvitationSerializer.Meta):
        fields = (*InvitationSerializer.Meta.fields, "link")  # type: ignore[assignment]


MEMBER = {
    "id": 9,
    "user": 3,
    "email": "grace@example.com",
    "role": "member",
    "created_at": "2026-05-20T12:00:00Z",
}
INVITED = {
    "id": 2,
    "email": "ada@example.com",
    "role": "member",
    "created_at": "2026-05-20T12:00:00Z",
    "expires_at": "2026-05-27T12:00:00Z",
    "link": "https://llm.example.com/console/projects/join/wWdb…/",
}


class MembersViewSet(ManagementViewSet):
    serializer_class = MemberSerializer

    @describes(
        "list_members",
        "Who belongs to a project",
        MemberSerializer(many=True),
        tag=TAG,
        query=[MemberListQuery],
        refused=(404,),
    )
    def list(self, request: Request, project: str) -> Response:
        asked = self.asked(MemberListQuery, request.query_params.dict())
        members = place_of(request, project, "view").project.memberships.select_related("user")
        if "role" in asked:
            members = members.filter(role=asked["role"])
        page = self.paginate_queryset(members)
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

    @describes(
        "change_member",
        "Give somebody another role",
        MemberSerializer,
        tag=TAG,
        body=RoleSerializer,
        refused=(404, 409),
        asked={"role": "admin"},
        answered={**MEMBER, "role": "admin"},
    )
    def partial_update(self, request: Request, project: str, pk: str) -> Response:
        place = place_of(request, project, "manage")
        member = get_object_or_404(place.project.memberships.select_related("user"), pk=pk)
        role = self.asked(RoleSerializer, request.data)["role"]
        _check_may_give(place.role, member.role, role)
        try:
            projects.set_role(member, role, by=actor_of(request))
        except Invalid as error:
            raise Conflict(" ".join(error.messages)) from error
        return Response(self.get_serializer(member).data)

    @describes("remove_member", "Take somebody out, or leave", tag=TAG, status=204, refused=(404, 409))
    def destroy(self, request: Request, project: str, pk: str) -> Response:
        place = place_of(request, project, "view")
        member = get_object_or_404(place.project.memberships, pk=pk)
        if member.user_id != person_of(request).pk:
            _check_may_give(place.role, member.role, None)
        try:
            projects.remove_member(member, by=actor_of(request))
        except Invalid as error:
            raise Conflict(" ".join(error.messages)) from error
        return Response(status=204)


class InvitationsViewSet(ManagementViewSet):
    serializer_class = InvitationSerializer

    @describes(
        "list_invitations",
        "Who is asked to join a project",
        InvitationSerializer(many=True),
        tag=TAG,
        query=[ListQuery],
        refused=(404,),
    )
    def list(self, request: Request, project: str) -> Response:
        self.asked(ListQuery, request.query_params.dict())
        invitations = place_of(request, project, "manage").project.invitations.filter(accepted_at=None)
        page = self.paginate_queryset(invitations)
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

    @describes(
        "invite",
        "Ask somebody to join: the answer has the link, this once",
        InvitedSerializer,
        tag=TAG,
        status=201,
        body=InviteSerializer,
        refused=(404,),
        asked={"email": "ada@example.com", "role": "member"},
        answered=INVITED,
    )
    def create(self, request: Request, project: str) -> Response:
        place = place_of(request, project, "manage")
        asked = self.asked(InviteSerializer, request.data)
        email = asked["email"].lower()
        _check_may_give(place.role, None, asked["role"])
        if place.project.memberships.filter(user__email__iexact=email).exists():
            raise ValidationError({"email": "Somebody with this address belongs to the project already."})
        invitation, token = project_invitations.invite(
            place.project, email, asked["role"], by=actor_of(request)
        )
        link = request.build_absolute_uri(reverse("console:join", args=[token]))
        return Response({**self.get_serializer(invitation).data, "link": link}, status=201)

    @describes("withdraw_invitation", "Withdraw an invitation", tag=TAG, status=204, refused=(404,))
    def destroy(self, request: Request, project: str, pk: str) -> Response:
        place = place_of(request, project, "manage")
        invitation = get_object_or_404(place.project.invitations, pk=pk, accepted_at=None)
        _check_may_give(place.role, None, invitation.role)
        project_invitations.withdraw(invitation, by=actor_of(request))
        return Response(status=204)


def _check_may_give(role: Role, old: str | None, new: str | None) -> None:
    """Raises PermissionDenied."""
    if not may_give(role, cast(Role | None, old), cast(Role | None, new)):
        raise PermissionDenied(f"Your role in this project, {role}, does not let you do this.")
