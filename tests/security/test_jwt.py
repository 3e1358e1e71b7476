"""Tokens of an identity provider: its names for things, and a corpus of attacks."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import hmac
import json
import math
import time
from typing import Any
from uuid import UUID, uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OctKey, RSAKey

from app.auth import AUDIENCE, ISSUER, Authenticator, Unauthenticated, development_token, staff
from app.claims import OURS, Claims
from app.issuer import Issuer
from app.links import GuestLinks
from domain import api_keys
from domain.access import PORTAL_SCOPES, STAFF_SCOPES, Principal, PrincipalKind, Scope
from domain.ids import Prefix, format_id

SECRET = "a development secret of enough characters"
KEY = RSAKey.generate_key(2048, {"kid": "one", "use": "sig"}, private=True)
OTHER = RSAKey.generate_key(2048, {"kid": "one", "use": "sig"}, private=True)
CURVE = ECKey.generate_key("P-256", {"kid": "curve", "use": "sig"}, private=True)
LOGIN = "https://login.example.com/"
CHANNEL = uuid4()


def issuer(claims: Claims = OURS) -> Issuer:
    """One whose keys are known already."""
    made = Issuer(LOGIN, "maestro", "https://login.example.com/jwks", claims)
    made._keys = KeySet([KEY, CURVE])
    return made


def given(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    claims = {
        "iss": LOGIN, "aud": "maestro", "sub": "staff:ada", "iat": now, "exp": now + 600, "kind": "STAFF",
        "scope": "orders:read", **changes,
    }  # fmt: skip
    return {name: value for name, value in claims.items() if value is not ...}


def signed(
    key: Any = KEY, algorithm: str = "RS256", header: dict[str, Any] | None = None, **changes: Any
) -> str:
    head = {"alg": algorithm, "kid": key.kid or "one", **(header or {})}
    return jwt.encode(head, given(**changes), key, algorithms=[algorithm])


def raw(header: Any, claims: Any, signature: bytes = b"") -> str:
    parts = [json.dumps(part).encode() if not isinstance(part, bytes) else part for part in (header, claims)]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (*parts, signature))


def hmac_with_public_key() -> str:
    """The classic confusion: the public key as the secret of an HMAC."""
    header, claims = {"alg": "HS256", "kid": "one"}, given()
    message = raw(header, claims).rsplit(".", 1)[0].encode()
    return raw(header, claims, hmac.digest(KEY.as_pem(private=False), message, hashlib.sha256))


def critical() -> str:
    """Signed by the issuer, with an extension that whoever does not know it must refuse."""
    header, claims = {"alg": "RS256", "kid": "one", "crit": ["bound"], "bound": 1}, given()
    message = raw(header, claims).rsplit(".", 1)[0].encode()
    return raw(header, claims, KEY.private_key.sign(message, PKCS1v15(), SHA256()))


def principal(token: str, claims: Claims = OURS, secret: str | None = None) -> Principal:
    found = Authenticator(secret, issuer(claims)).authenticate(f"Bearer {token}")
    assert isinstance(found, Principal)
    return found


TAMPERED = signed().split(".")

ATTACKS = {
    "no signature": raw({"alg": "none"}, given()),
    "None in capitals": raw({"alg": "NONE"}, given()),
    "an empty algorithm": raw({"alg": ""}, given()),
    "no algorithm": raw({"typ": "JWT"}, given()),
    "an algorithm that is no text": raw({"alg": ["RS256"]}, given()),
    "a public key as an HMAC's secret": hmac_with_public_key(),
    "the development secret's algorithm": signed(OctKey.import_key(SECRET), "HS256"),
    "an issuer's token signed with the development secret": jwt.encode(
        {"alg": "HS256"}, given(), OctKey.import_key(SECRET)
    ),
    "another key under a known id": signed(OTHER),
    "an unknown key": signed(RSAKey.generate_key(2048, {"kid": "two"}, private=True)),
    "a key sent along": signed(OTHER, header={"jwk": OTHER.as_dict(private=False)}),
    "a key to be fetched": signed(OTHER, header={"jku": "https://evil.example.com/jwks"}),
    "a key id that is a path": signed(OTHER, header={"kid": "../../dev/null"}),
    "a key id that is SQL": signed(OTHER, header={"kid": "' or 1=1 --"}),
    "an extension that must be understood": critical(),
    "changed claims": ".".join([TAMPERED[0], raw({}, given(sub="staff:root")).split(".")[1], TAMPERED[2]]),
    "a signature cut off": ".".join([*TAMPERED[:2], ""]),
    "another issuer": signed(iss="https://evil.example.com/"),
    "an issuer with more behind it": signed(iss=LOGIN + "x"),
    "no issuer": signed(iss=...),
    "another audience": signed(aud="another"),
    "no audience": signed(aud=...),
    "expired beyond the leeway": signed(exp=int(time.time()) - 120),
    "no end": signed(exp=...),
    "an end that is text": signed(exp="tomorrow"),
    "an end that is no number": signed(exp=math.nan),
    "an end without end": signed(exp=math.inf),
    "not yet": signed(nbf=int(time.time()) + 3600),
    "issued in the future": signed(iat=int(time.time()) + 3600),
    "no subject": signed(sub=...),
    "an empty subject": signed(sub=""),
    "the account of our own work": signed(sub="system"),
    "the account of an API key": signed(sub=f"key:{uuid4()}"),
    "a subject with a line break": signed(sub="staff:ada\nlevel=admin"),
    "a subject that is very long": signed(sub="a" * 5000),
    "no kind": signed(kind=...),
    "an unknown kind": signed(kind="ROOT"),
    "a partner without bounds": signed(kind="PARTNER"),
    "a partner with bounds that are no ids": signed(kind="PARTNER", channels=["all"]),
    "a partner with bounds that are a number": signed(kind="PARTNER", channels=5),
    "a customer without id": signed(kind="CUSTOMER"),
    "a guest without order": signed(kind="GUEST"),
    "an id that is SQL": signed(kind="CUSTOMER", customer="' or true --"),
    "a text that is no JSON": raw({"alg": "RS256"}, b"{"),
    "nested deep": raw({"alg": "RS256"}, b"[" * 5000),
    "claims that are a list": raw({"alg": "RS256"}, []),
    "dots": "....",
    "one part": "abc",
    "five parts, as of an encrypted one": "a.b.c.d.e",
    "very long": "a" * 100_000,
    "not ASCII": "tökén.a.b",
}


@pytest.mark.parametrize("name", ATTACKS)
def test_no_attack_is_let_in_and_none_is_told_why(name: str) -> None:
    for secret in (None, SECRET):
        with pytest.raises(Unauthenticated) as refused:
            principal(ATTACKS[name], secret=secret)
        assert str(refused.value) == "The token is not valid here, or it has expired."


def test_what_is_valid_is_accepted_within_a_minute_of_either_clock() -> None:
    for token in (
        signed(),
        signed(CURVE, "ES256"),
        signed(exp=int(time.time()) - 50),
        signed(nbf=int(time.time()) + 50, iat=int(time.time()) + 50),
        signed(aud=["another", "maestro"]),
    ):
        assert principal(token).account == "staff:ada"


def test_each_side_takes_only_what_it_has_signed_itself() -> None:
    development = development_token(SECRET, staff())
    with pytest.raises(Unauthenticated):
        principal(development)  # production has no development secret
    links = GuestLinks([SECRET])
    forged = jwt.encode(
        {"alg": "HS256"},
        {"iss": "maestro-oms-links", "aud": "maestro-oms-guest", "sub": "guest:x", "order": str(uuid4()),
         "exp": int(time.time()) + 60, "kind": "STAFF"},
        OctKey.import_key(SECRET),
    )  # fmt: skip
    authenticator = Authenticator(SECRET, links=links)
    with pytest.raises(Unauthenticated):
        authenticator.authenticate(f"Bearer {forged}")
    as_link = jwt.encode(
        {"alg": "HS256"},
        {"iss": ISSUER, "aud": AUDIENCE, "sub": "staff:x", "exp": int(time.time()) + 60, "kind": "STAFF"},
        links._keys[0],
    )
    with pytest.raises(Unauthenticated):
        authenticator.authenticate(f"Bearer {as_link}")


def test_claims_are_read_under_the_issuers_names() -> None:
    names = Claims(
        kind="app.role", scopes="https://oms.example.com/scopes", channels="app.shops", customer="crm_id"
    )
    token = signed(
        kind=...,
        scope=...,
        **{"https://oms.example.com/scopes": ["orders:read", "openid", 5]},
        app={"role": "partner", "shops": [str(CHANNEL), format_id(Prefix.CHANNEL, CHANNEL)]},
    )
    found = principal(token, names)
    assert (found.kind, found.scopes) == (PrincipalKind.PARTNER, {Scope.ORDERS_READ})
    assert (found.channels, found.locations) == ((CHANNEL, CHANNEL), None)


def test_scopes_that_are_not_ours_say_nothing_and_staffs_are_never_a_partners() -> None:
    scope = "openid profile orders:read " + " ".join(STAFF_SCOPES)
    assert principal(signed(scope=scope)).scopes == {Scope.ORDERS_READ, *STAFF_SCOPES}
    assert principal(signed(kind="PARTNER", channels="*", scope=scope)).scopes == {Scope.ORDERS_READ}
    everything = " ".join(Scope)
    assert principal(signed(kind="CUSTOMER", customer=str(uuid4()), scope=everything)).scopes == PORTAL_SCOPES
    assert principal(signed(scope=...)).scopes == frozenset()


@pytest.mark.parametrize(
    ("claims", "channels", "locations"),
    [
        ({"channels": "*"}, None, None),
        ({"channels": ["*"], "locations": []}, None, ()),
        ({"channels": [str(CHANNEL)]}, (CHANNEL,), None),
        ({"channels": [], "locations": "*"}, (), None),
        ({"locations": str(CHANNEL)}, None, (CHANNEL,)),
    ],
)
def test_a_partner_says_what_bounds_it(
    claims: dict[str, Any], channels: tuple[UUID, ...] | None, locations: tuple[UUID, ...] | None
) -> None:
    found = principal(signed(kind="PARTNER", **claims))
    assert (found.channels, found.locations) == (channels, locations)


def test_a_customers_subject_goes_nowhere_it_may_be_an_address() -> None:
    customer, company = uuid4(), uuid4()
    assert principal(signed(kind="CUSTOMER", sub="ada@example.com", customer=str(customer))).account == (
        f"customer:{customer}"
    )
    accounts = {
        principal(signed(kind="CUSTOMER", sub=sub, company=str(company))).account
        for sub in ("a@b.c", "d@b.c")
    }
    assert len(accounts) == 2
    assert not any("@" in account for account in accounts)


def test_a_token_that_was_remembered_is_refused_once_it_has_expired(monkeypatch: pytest.MonkeyPatch) -> None:
    authenticator, token = Authenticator(None, issuer()), signed(exp=int(time.time()) + 30)
    authenticator.authenticate(f"Bearer {token}")
    later = time.time() + 200
    monkeypatch.setattr(time, "time", lambda: later)
    with pytest.raises(Unauthenticated):
        authenticator.authenticate(f"Bearer {token}")


def test_equal_and_almost_equal_secrets_are_told_apart_and_by_a_constant_time_comparison() -> None:
    stored = api_keys.digest_of("s" * 43)
    assert api_keys.same(api_keys.digest_of("s" * 43), stored)
    for almost in ("s" * 42 + "t", "t" + "s" * 42, "s" * 44, "s" * 42):
        assert not api_keys.same(api_keys.digest_of(almost), stored)
    assert not api_keys.same(stored, None)
    # What is compared are digests: one who guesses cannot choose how many of their bytes agree.
    assert api_keys.same.__code__.co_names.count("compare_digest") == 1


def test_the_principal_of_a_token_is_what_was_signed() -> None:
    one = Principal(
        kind=PrincipalKind.PARTNER, account="p", scopes=frozenset({Scope.ORDERS_READ}), channels=(CHANNEL,)
    )
    for caller in (one, dataclasses.replace(one, channels=None), staff()):
        assert Authenticator(SECRET).authenticate(f"Bearer {development_token(SECRET, caller)}") == caller
