from typing import Any

from django.urls import path

from console.api.audit import AuditViewSet
from console.api.keys import KeysViewSet
from console.api.me import MeViewSet
from console.api.members import InvitationsViewSet, MembersViewSet
from console.api.models import ModelsViewSet
from console.api.prices import PricesViewSet
from console.api.projects import ProjectsViewSet
from console.api.sessions import SessionsViewSet
from console.api.usage import UsageViewSet

READ: dict[str, Any] = {"get": "retrieve"}
CHANGE: dict[str, Any] = {**READ, "patch": "partial_update", "delete": "destroy"}

app_name = "api"
urlpatterns = [
    path("me", MeViewSet.as_view(READ), name="me"),
    path(
        "sessions",
        SessionsViewSet.as_view({"get": "list", "post": "create", "delete": "destroy_all"}),
        name="sessions",
    ),
    path("sessions/refresh", SessionsViewSet.as_view({"post": "refresh"}), name="refresh"),
    path("sessions/revoke", SessionsViewSet.as_view({"post": "revoke"}), name="revoke"),
    path("sessions/<str:sid>", SessionsViewSet.as_view({**READ, "delete": "destroy"}), name="session"),
    path("keys", KeysViewSet.as_view({"get": "list", "post": "create"}), name="keys"),
    path(
        "keys/<int:pk>",
        KeysViewSet.as_view(CHANGE),
        name="key",
    ),
    path("keys/<int:pk>/rotate", KeysViewSet.as_view({"post": "rotate"}), name="rotate"),
    path("projects", ProjectsViewSet.as_view({"get": "list", "post": "create"}), name="projects"),
    path("projects/<int:pk>", ProjectsViewSet.as_view(CHANGE), name="project"),
    path("projects/<int:project>/members", MembersViewSet.as_view({"get": "list"}), name="members"),
    path(
        "projects/<int:project>/members/<int:pk>",
        MembersViewSet.as_view({"patch": "partial_update", "delete": "destroy"}),
        name="member",
    ),
    path(
        "projects/<int:project>/invitations",
        InvitationsViewSet.as_view({"get": "list", "post": "create"}),
        name="invitations",
    ),
    path(
        "projects/<int:project>/invitations/<int:pk>",
        InvitationsViewSet.as_view({"delete": "destroy"}),
        name="invitation",
    ),
    path("usage", UsageViewSet.as_view(READ), name="usage"),
    path("prices", PricesViewSet.as_view({"get": "list"}), name="prices"),
    path("audit", AuditViewSet.as_view({"get": "list"}), name="audit"),
    path("models", ModelsViewSet.as_view({"get": "list"}), name="models"),
    path("models/<path:name>", ModelsViewSet.as_view(READ), name="model"),
]
