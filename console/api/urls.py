from typing import Any

from django.urls import path

from console.api.audit import AuditViewSet
from console.api.keys import KeysViewSet
from console.api.me import MeViewSet
from console.api.models import ModelsViewSet
from console.api.prices import PricesViewSet
from console.api.sessions import SessionsViewSet
from console.api.usage import UsageViewSet

READ: dict[str, Any] = {"get": "retrieve"}

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
        KeysViewSet.as_view({**READ, "patch": "partial_update", "delete": "destroy"}),
        name="key",
    ),
    path("keys/<int:pk>/rotate", KeysViewSet.as_view({"post": "rotate"}), name="rotate"),
    path("usage", UsageViewSet.as_view(READ), name="usage"),
    path("prices", PricesViewSet.as_view({"get": "list"}), name="prices"),
    path("audit", AuditViewSet.as_view({"get": "list"}), name="audit"),
    path("models", ModelsViewSet.as_view({"get": "list"}), name="models"),
    path("models/<path:name>", ModelsViewSet.as_view(READ), name="model"),
]
