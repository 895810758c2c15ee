"""Who owns what, what binds them, what they used, and what was changed."""

from apikeys.models.audit import AuditEntry
from apikeys.models.blocking import BlockedAddress
from apikeys.models.contents import RequestContent
from apikeys.models.keys import NAME_LIMIT, ApiKey, KeyStatus, active_keys
from apikeys.models.limits import LimitFields, UserLimits, binding, limits_of
from apikeys.models.nonces import UsedNonce
from apikeys.models.notices import Notice
from apikeys.models.prices import Price, from_nanos, to_nanos
from apikeys.models.projects import Membership, Project, ProjectInvitation, Role, Tier
from apikeys.models.sessions import RevokedToken, SigningKey, TokenSession
from apikeys.models.usage import CLIENT_LEFT, NOT_ROLLED_UP, SUMS, WIDTHS, UsageRecord, UsageRollup, Width

__all__ = [
    "CLIENT_LEFT",
    "NAME_LIMIT",
    "NOT_ROLLED_UP",
    "SUMS",
    "WIDTHS",
    "ApiKey",
    "AuditEntry",
    "BlockedAddress",
    "KeyStatus",
    "LimitFields",
    "Membership",
    "Notice",
    "Price",
    "Project",
    "ProjectInvitation",
    "RequestContent",
    "RevokedToken",
    "Role",
    "SigningKey",
    "Tier",
    "TokenSession",
    "UsageRecord",
    "UsageRollup",
    "UsedNonce",
    "UserLimits",
    "Width",
    "active_keys",
    "binding",
    "from_nanos",
    "limits_of",
    "to_nanos",
]
