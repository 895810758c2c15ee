"""The cache on a Redis that goes away and comes back."""

from __future__ import annotations

import logging
import time

import pytest

from config import cache
from config.cache import SharedCache
from tests.services import Redis

pytestmark = pytest.mark.services


def test_a_process_goes_on_alone_while_redis_is_away(
    redis: Redis, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cache, "TRY_EVERY", 0.2)
    one, other = SharedCache(redis.url, {}), SharedCache(redis.url, {})
    one.set("tries", 3)
    assert other.incr("tries") == 4
    with caplog.at_level(logging.WARNING, "config.cache"):
        redis.stop()
        began = time.monotonic()
        for number in range(100):
            assert one.add(f"name-{number}", 1)
            assert one.incr(f"name-{number}") == 2
        assert time.monotonic() - began < 2, "nobody waits for a cache"
        assert other.get("name-1", "nothing") in (2, "nothing")
        redis.start()
        redis.wait()
        time.sleep(0.3)
        one.set("after", "shared")
        assert SharedCache(redis.url, {}).get("after") == "shared"
    assert [record.message.split()[1] for record in caplog.records] == ["does", "answers"]


def test_it_takes_all_that_is_asked_of_a_cache(redis: Redis) -> None:
    one = SharedCache(redis.url, {})
    assert one.get("x", "default") == "default"
    assert one.add("x", 1)
    assert not one.add("x", 2)
    assert one.touch("x", 60)
    assert one.delete("x")
    with pytest.raises(ValueError, match="x"):
        one.incr("x")
    one.set("x", 1)
    one.clear()
    assert one.get("x") is None
