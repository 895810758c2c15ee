"""While Redis is away one signs in, is answered and talks in the playground; then all is well again."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import requests

from tests.playground.sockets import Person, text_of
from tests.server import Server
from tests.services import Redis

pytestmark = [pytest.mark.services, pytest.mark.slow]
WITHIN = 20.0  # seconds
BODY = {"model": "open-autoglm-7b", "prompt": "Hi", "max_tokens": 3}


def wait_until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def statuses(server: Server, key: str, count: int) -> list[int]:
    headers = {"Authorization": f"Bearer {key}"}
    url = f"{server.url}/v1/completions"
    return [requests.post(url, json=BODY, headers=headers, timeout=30).status_code for _ in range(count)]


def talk(person: Person) -> str:
    with person.socket() as socket:
        socket.chat("Say hello.", max_tokens=8)
        return text_of(socket.until("done"))


def test_two_servers_go_on_with_their_share_and_say_so(redis: Redis) -> None:
    with Server(REDIS_URL=redis.url) as one, Server(DATA_DIR=str(one.data_dir), REDIS_URL=redis.url) as other:
        limited, unlimited = one.create_key("a@example.com"), one.create_key("b@example.com")
        one.change_key(limited, requests_per_minute=6)
        before = Person(one, "before@example.com")
        assert statuses(one, limited, 2) + statuses(other, limited, 2) == [200] * 4

        def tells(server: Server) -> bool:
            return "Redis" in before.http.get(f"{server.url}/console/models/", timeout=30).text

        assert not tells(one)
        redis.stop()
        for server in (one, other):
            assert statuses(server, limited, 5) == [200] * 3 + [429] * 2
            assert statuses(server, unlimited, 3) == [200] * 3
            assert tells(server)
            assert "Redis does not answer" in server.log.read_text()
        assert talk(before)
        assert talk(Person(one, "meanwhile@example.com"))
        redis.start()
        redis.wait()
        wait_until(lambda: not (tells(one) or tells(other)))
        assert "Redis answers again" in one.log.read_text()
        passed = statuses(one, limited, 4) + statuses(other, limited, 4)
        assert passed.count(200) == 6
