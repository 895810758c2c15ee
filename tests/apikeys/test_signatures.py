"""Signed requests: what must be refused, and that the code in docs/security.md signs."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import requests
from django.db import connection
from django.test import RequestFactory
from django.utils import timezone

from apikeys import keys, signatures
from apikeys.audit import SYSTEM
from apikeys.errors import InvalidSignature
from apikeys.models import ApiKey, UsedNonce
from apikeys.tasks import forget_nonces
from tests.environment import REPOSITORY
from tests.server import Server

Minted = tuple[ApiKey, str]
BODY = json.dumps({"model": "open-autoglm-7b", "prompt": "Hi"}).encode()
NONCE = "n" * 20


def documented() -> Callable[..., dict[str, str]]:
    """The helper in the document, as somebody would paste it."""
    text = (REPOSITORY / "docs" / "security.md").read_text()
    [code] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    pasted: dict[str, Any] = {}
    exec(code, pasted)  # noqa: S102
    helper: Callable[..., dict[str, str]] = pasted["signed_headers"]
    return helper


def signed(key: ApiKey, **changes: Any) -> dict[str, str]:
    """Headers for a POST of BODY to /v1/tokenize?x=1, but for ``changes``."""
    said = {
        "nonce": NONCE,
        "timestamp": str(int(time.time())),
        "method": "POST",
        "path": "/v1/tokenize?x=1",
        "body": BODY,
        **changes,
    }
    return {
        "webhook-id": said["nonce"],
        "webhook-timestamp": said["timestamp"],
        "webhook-signature": signatures.sign(signatures.secret_of(key), **said),
    }


def check(key: ApiKey, headers: dict[str, str]) -> str:
    request = RequestFactory().post(
        "/v1/tokenize?x=1", data=BODY, content_type="application/json", headers=headers
    )
    return signatures.check(key, request)


def test_a_signed_request_passes(minted: Minted) -> None:
    headers = signed(minted[0])
    assert check(minted[0], headers) == NONCE
    several = {**headers, "webhook-signature": f"v1,bm9uZQ== {headers['webhook-signature']}"}
    assert check(minted[0], several) == NONCE


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"method": "GET"}, "does not fit"),
        ({"path": "/v1/tokenize"}, "does not fit"),
        ({"path": "/v1/detokenize?x=1"}, "does not fit"),
        ({"body": BODY + b" "}, "does not fit"),
        ({"timestamp": str(int(time.time()) - 3600)}, "seconds from this server's clock"),
        ({"timestamp": str(int(time.time()) + 3600)}, "seconds from this server's clock"),
        ({"timestamp": "soon"}, "whole seconds"),
        ({"nonce": "short"}, "16 to 64"),
        ({"nonce": "a.b" * 8}, "16 to 64"),
    ],
)
def test_anything_else_is_refused(minted: Minted, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidSignature, match=says):
        check(minted[0], signed(minted[0], **changes))


@pytest.mark.parametrize("missing", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_missing_header_is_named(minted: Minted, missing: str) -> None:
    headers = signed(minted[0])
    del headers[missing]
    with pytest.raises(InvalidSignature, match="send webhook-id"):
        check(minted[0], headers)


@pytest.mark.parametrize("by", [-290, 290])
def test_clocks_may_differ_by_five_minutes(minted: Minted, by: int) -> None:
    assert check(minted[0], signed(minted[0], timestamp=str(int(time.time()) + by)))


def test_another_key_s_secret_does_not_sign(minted: Minted, user: Any) -> None:
    other, _ = keys.mint(user, "other")
    with pytest.raises(InvalidSignature):
        check(minted[0], signed(other))


def test_the_secret_is_not_in_the_database(minted: Minted) -> None:
    secret = signatures.secret_of(minted[0])
    row = ApiKey.objects.filter(pk=minted[0].pk).values().get()
    assert not [value for value in row.values() if str(value) and secret[6:] in str(value)]


def test_old_nonces_are_forgotten_and_others_kept(minted: Minted) -> None:
    signatures.use_up(minted[0], "old-old-old-old-old")
    UsedNonce.objects.update(used_at=timezone.now() - timedelta(seconds=4 * signatures.TOLERANCE))
    signatures.use_up(minted[0], NONCE)
    assert forget_nonces() == 1
    with pytest.raises(InvalidSignature, match="used before"):
        signatures.use_up(minted[0], NONCE)


@pytest.mark.django_db(transaction=True)
def test_of_many_with_one_nonce_one_passes(minted: Minted) -> None:
    """Through connections of their own, as processes have them."""
    outcomes: list[bool] = []

    def work() -> None:
        try:
            signatures.use_up(minted[0], NONCE)
            outcomes.append(True)
        except InvalidSignature:
            outcomes.append(False)
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [False] * 7 + [True]


def test_the_documented_code_signs_what_the_server_takes_once(server: Server) -> None:
    key, secret = server.shell(
        "from apikeys import keys, signatures\n"
        "from console.models import User\n"
        "user, _ = User.objects.get_or_create(email='signer@example.com')\n"
        "key, text = keys.mint(user, 'signed', signed=True)\n"
        "print(text, signatures.secret_of(key))"
    ).split()
    url = server.url + "/v1/tokenize"

    def send(headers: dict[str, str], body: bytes = BODY) -> requests.Response:
        return requests.post(url, data=body, headers={"Content-Type": "application/json", **headers})

    headers = documented()(key, secret, "POST", url, BODY)
    assert send(headers).status_code == 200
    for refused in (
        send(headers),  # sent again
        send({"Authorization": f"Bearer {key}"}),  # not signed
        send(documented()(key, secret, "POST", url, BODY), BODY + b" "),
    ):
        assert refused.status_code == 401
        assert refused.json()["error"]["code"] == "invalid_signature"


def test_a_key_can_be_made_to_sign(minted: Minted) -> None:
    keys.edit(minted[0], by=SYSTEM, signed=True)
    assert ApiKey.objects.get().signed
