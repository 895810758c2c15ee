"""The cache that all servers share. While Redis is away, each process has one of its own: what is counted
there goes on, from nothing, and what was kept is made again."""

from __future__ import annotations

import logging
import time
from typing import Any

from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache
from django.core.cache.backends.locmem import LocMemCache
from django.core.cache.backends.redis import RedisCache
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from apikeys.outages import Outage

TRY_EVERY = 1.0  # seconds between two tries to reach Redis, of which each may take as long
PATIENCE = 1.0

_outage = Outage(
    logging.getLogger(__name__),
    "Redis does not answer; each process has a cache of its own",
    "Redis answers again, and the cache is shared again,",
)


class SharedCache(BaseCache):
    """Takes what Django's cache on Redis takes."""

    _next_try = 0.0

    def __init__(self, url: str, params: dict[str, Any]) -> None:
        super().__init__(params)
        at_once = {
            "socket_connect_timeout": PATIENCE,
            "socket_timeout": PATIENCE,
            "retry": Retry(NoBackoff(), 0),
        }
        self._shared = RedisCache(url, {**params, "OPTIONS": at_once})
        self._own = LocMemCache(f"{url} {self.key_prefix}", params)

    def _call(self, method: str, *arguments: Any) -> Any:
        if time.monotonic() >= SharedCache._next_try:
            try:
                answer = getattr(self._shared, method)(*arguments)
            except RedisError as error:
                SharedCache._next_try = time.monotonic() + TRY_EVERY
                _outage.noticed(error)
            else:
                _outage.over()
                return answer
        return getattr(self._own, method)(*arguments)

    def add(self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        return bool(self._call("add", key, value, timeout, version))

    def get(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        return self._call("get", key, default, version)

    def set(self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> None:
        self._call("set", key, value, timeout, version)

    def touch(self, key: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        return bool(self._call("touch", key, timeout, version))

    def delete(self, key: Any, version: int | None = None) -> bool:
        return bool(self._call("delete", key, version))

    def incr(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        """Raises ValueError where there is nothing to add to."""
        return int(self._call("incr", key, delta, version))

    def clear(self) -> None:
        self._call("clear")
