"""Which tokens are read, and which are refused, whoever made them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from django.conf import settings

from apikeys.errors import InvalidAccessToken
from apikeys.jwt import signing
from apikeys.jwt.claims import AUDIENCE, Claims, UnknownSigner, looks_like_token, read
from apikeys.jwt.sessions import Tokens
from apikeys.models import SigningKey

pytestmark = pytest.mark.django_db


def good_claims(**others: Any) -> dict[str, Any]:
    now = int(time.time())
    return {
        "iss": settings.SITE_URL,
        "aud": AUDIENCE,
        "sub": "1",
        "iat": now,
        "exp": now + 60,
        "jti": "a",
        "sid": "b",
        "scope": "inference",
        **others,
    }


def refusal_of(token: str) -> str:
    with pytest.raises(InvalidAccessToken) as refusal:
        read(token, signing.published())
    assert refusal.value.status == 401
    return refusal.value.message


def encode(part: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def test_a_token_says_who_may_do_what_and_for_how_long(signed_in: Tokens) -> None:
    said = jwt.decode(signed_in.access, options={"verify_signature": False})
    session = signed_in.session
    assert said.pop("iat") + 600 == said.pop("exp") == signed_in.claims.expires_at
    assert said == {
        "iss": settings.SITE_URL,
        "aud": AUDIENCE,
        "sub": str(session.owner_id),
        "jti": signed_in.claims.jti,
        "sid": session.sid,
        "role": "owner",
        "scope": "files inference manage:read manage:write",
        "project": session.project_id,
    }
    assert looks_like_token(signed_in.access)
    assert read(signed_in.access, signing.published()) == signed_in.claims


def test_the_signature_is_es256_by_a_published_key(signed_in: Tokens) -> None:
    header = jwt.get_unverified_header(signed_in.access)
    (published,) = map(json.loads, signing.published())
    assert header == {"alg": "ES256", "kid": published["kid"], "typ": "at+jwt"}
    assert (published["kty"], published["crv"], published["use"]) == ("EC", "P-256", "sig")
    assert "d" not in published


def test_a_token_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    token = signing.sign(good_claims())
    assert read(token, signing.published()) == Claims(
        "b", "a", frozenset({"inference"}), int(time.time()) + 60
    )
    later = time.time() + 61
    monkeypatch.setattr(time, "time", lambda: later)
    assert "expired" in refusal_of(token)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"iss": "https://elsewhere.example"}, "issuer"),
        ({"aud": "another-api"}, "Audience"),
        ({"sid": None}, "sid"),
        ({"jti": None}, "jti"),
        ({"exp": None}, "exp"),
    ],
)
def test_a_token_for_others_or_without_a_claim_is_refused(wrong: dict[str, Any], why: str) -> None:
    claims = {name: value for name, value in good_claims(**wrong).items() if value is not None}
    assert why in refusal_of(signing.sign(claims))


def test_a_token_without_a_signature_is_refused() -> None:
    kid = jwt.get_unverified_header(signing.sign(good_claims()))["kid"]
    header = {"alg": "none", "typ": "at+jwt", "kid": kid}
    assert "alg" in refusal_of(f"{encode(header)}.{encode(good_claims())}.")


def test_a_token_signed_with_the_public_key_as_secret_is_refused() -> None:
    signing.sign(good_claims())
    (public,) = signing.published()
    header = {"alg": "HS256", "typ": "at+jwt", "kid": json.loads(public)["kid"]}
    signed = f"{encode(header)}.{encode(good_claims())}"
    signature = hmac.digest(public.encode(), signed.encode(), hashlib.sha256)
    text = base64.urlsafe_b64encode(signature).rstrip(b"=").decode()
    assert "alg" in refusal_of(f"{signed}.{text}")


@pytest.mark.parametrize("part", [0, 1, 2])
def test_a_token_that_was_tampered_with_is_refused(part: int) -> None:
    parts = signing.sign(good_claims()).split(".")
    changed = parts[part]
    parts[part] = changed[:30] + ("A" if changed[30] != "A" else "B") + changed[31:]
    refusal_of(".".join(parts))


def test_more_scope_written_into_a_token_breaks_its_signature() -> None:
    header, _, signature = signing.sign(good_claims()).split(".")
    assert "Signature" in refusal_of(f"{header}.{encode(good_claims(scope='manage:write'))}.{signature}")


def test_a_token_by_another_key_is_refused_even_under_a_known_name() -> None:
    kid = jwt.get_unverified_header(signing.sign(good_claims()))["kid"]
    stranger = ec.generate_private_key(ec.SECP256R1())
    forged = jwt.encode(good_claims(), stranger, "ES256", headers={"kid": kid, "typ": "at+jwt"})
    assert "Signature" in refusal_of(forged)
    unknown = jwt.encode(good_claims(), stranger, "ES256", headers={"kid": "other", "typ": "at+jwt"})
    with pytest.raises(UnknownSigner):
        read(unknown, signing.published())


def test_what_the_key_signs_besides_access_tokens_is_none() -> None:
    signing.sign(good_claims())
    key = SigningKey.objects.get()
    private = signing._open(key)
    assert private is not None
    other = jwt.encode(good_claims(), private, "ES256", headers={"kid": key.kid, "typ": "JWT"})
    assert "not an access token" in refusal_of(other)


@pytest.mark.parametrize(
    "text", ["eyJ..", "eyJhbGciOiJFUzI1NiJ9.e30.", "eyJ!!.a.b", "eyJ" + "a" * 5000 + ".b.c"]
)
def test_what_is_no_token_is_refused(text: str) -> None:
    assert looks_like_token(text)
    refusal_of(text)
