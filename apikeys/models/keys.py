"""Keys."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Literal

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _

from apikeys.bounds import Bounds
from apikeys.models.limits import LimitFields, binding, limits_of
from apikeys.models.projects import Project, Role
from apikeys.scopes import default_scopes
from apikeys.validation import validate_models, validate_networks, validate_scopes

NAME_LIMIT = 100  # characters in the name of a key
NOTES_LIMIT = 2000  # characters of notes

KeyStatus = Literal["active", "expired", "revoked"]


def active_keys(path: str) -> models.Q:
    """Those whose ``status`` is "active", for a query that finds keys at ``path``."""
    lasts = models.Q(**{f"{path}__expires_at": None}) | models.Q(
        **{f"{path}__expires_at__gt": timezone.now()}
    )
    return models.Q(**{f"{path}__revoked_at": None}) & lasts


class ApiKey(LimitFields):
    """A key of a project, which acts for the person who made it. The key itself is shown once, at
    minting; only its hash is kept.

    Rows are made by ``keys.mint`` and ended by ``keys.revoke``, nowhere else.
    """

    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_keys", verbose_name=_("owner")
    )
    name = models.CharField(_("name"), max_length=NAME_LIMIT)
    prefix = models.CharField(_("prefix"), max_length=12, unique=True)
    hash = models.CharField(max_length=64)
    created_at = models.DateTimeField(_("created"), default=timezone.now)
    expires_at = models.DateTimeField(_("expires"), null=True, blank=True)
    expiry_noted_at = models.DateTimeField(null=True, blank=True, editable=False)
    revoked_at = models.DateTimeField(_("revoked"), null=True, blank=True)
    last_used_at = models.DateTimeField(_("last used"), null=True, blank=True)
    last_used_ip = models.GenericIPAddressField(_("last used from"), null=True, blank=True)
    project = models.ForeignKey(
        Project, on_delete=models.CASCADE, related_name="api_keys", verbose_name=_("project")
    )
    scopes = models.JSONField(_("scopes"), default=default_scopes, validators=[validate_scopes])
    networks = models.JSONField(
        _("networks"), default=list, blank=True, validators=[validate_networks]
    )  # CIDR; none: all
    signed = models.BooleanField(_("signs its requests"), default=False)
    caches_answers = models.BooleanField(_("caches answers"), default=False)
    notes = models.TextField(_("notes"), max_length=NOTES_LIMIT, blank=True)
    replaced_by = models.ForeignKey(
        "self", on_delete=models.SET_NULL, null=True, blank=True, related_name="replaces"
    )
    # Names; none: all. The last field, because its name hides the module's from here on.
    models = models.JSONField(_("models"), default=list, blank=True, validators=[validate_models])

    owner_role: Role | None  # in the project; known_keys asks for it with the key

    class Meta:
        verbose_name = _("API key")
        verbose_name_plural = _("API keys")
        ordering = ("-created_at", "-pk")

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    @cached_property
    def all_bounds(self) -> tuple[Bounds, ...]:
        """Of the key, its project and its owner: those that limit anything."""
        return binding(
            (f"key:{self.pk}", self),
            (f"project:{self.project_id}", self.project),
            (f"user:{self.owner_id}", limits_of(self.owner)),
        )

    @cached_property
    def allowed_networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        return tuple(ip_network(network) for network in self.networks)

    @property
    def status(self) -> KeyStatus:
        if self.revoked_at is not None:
            return "revoked"
        if self.expires_at is not None and self.expires_at <= timezone.now():
            return "expired"
        return "active"
