"""What is recorded of a request, and the line of the journal that says it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class UsageEvent:
    """One finished request. ``status`` is HTTP's, or 499 when the client left before the end."""

    request_id: str
    user_id: int
    key_id: int | None
    project_id: int | None  # None only in a line from before there were projects
    source: str
    endpoint: str
    model: str
    prompt_tokens: int
    completion_tokens: int
    status: int
    finish_reason: str
    error_code: str
    started_at: datetime
    ttft_ms: int | None
    duration_ms: int
    stream: bool
    cost_nanos: int = 0  # billionths of the currency
    queue_ms: int | None = None  # until the model began with it; None: no model was asked
    prefill_ms: int | None = None  # from there to its first token
    decode_ms: int | None = None  # from there to its last
    compute_us: int = 0  # its share of what the model computed meanwhile, in microseconds
    address: str = ""  # noted with the key, not with each request
    content: str = ""  # what was said, as ``contents`` seals it; empty where the project does not keep it
    cached: bool = False  # the answer had been computed before: it costs nothing

    def fields(self) -> dict[str, Any]:
        """As ``asdict``, which copies every value and takes ten times as long."""
        return {name: getattr(self, name) for name in self.__slots__}

    def to_line(self) -> bytes:
        fields = {**self.fields(), "started_at": self.started_at.isoformat()}
        return json.dumps(fields).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Self:
        """Raises ``ValueError`` or ``TypeError`` for a line that ``to_line`` did not write whole."""
        fields = {"project_id": None, **json.loads(line)}
        return cls(**{**fields, "started_at": datetime.fromisoformat(fields["started_at"])})
