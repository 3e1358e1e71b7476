"""Who is calling: bearer tokens to principals.

A token is a JWT whose claims name the kind of principal (`kind`), its scopes
(`scope`, separated by spaces) and its bounds (`channels`, `locations`, `customer`,
`company`, `order`, as UUIDs). In production it is signed by the issuer of
`OMS_JWT_ISSUER`. Under `oms up` tokens are signed with a secret made for that
data directory (HS256); nothing else accepts that secret, and production refuses
to start with one.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey
from joserfc.jws import extract_compact

from app.issuer import LEEWAY_SECONDS, REFRESH_SECONDS, Issuer
from domain.access import ALL_SCOPES, PORTAL_SCOPES, Principal, PrincipalKind, Scope

ISSUER = "maestro-oms-development"
AUDIENCE = "maestro-oms"

MAX_KNOWN = 10_000
"""Verified tokens that are remembered."""
DEVELOPMENT_ALGORITHMS = ["HS256"]

_DEVELOPMENT = jwt.JWTClaimsRegistry(
    leeway=LEEWAY_SECONDS,
    iss={"essential": True, "value": ISSUER},
    aud={"essential": True, "value": AUDIENCE},
    exp={"essential": True},
    sub={"essential": True},
)

PARTNER_SCOPES = ALL_SCOPES - {Scope.METADATA_PRIVATE, Scope.COSTS_READ, Scope.CHANNELS_WRITE}
"""What a development partner token may do: everything a marketplace, ERP or warehouse needs."""


class Unauthenticated(Exception):
    """The credentials are missing, malformed, expired or not ours; the message says which."""


@dataclass(frozen=True, slots=True)
class _Known:
    """A verified token: whose it is, when it expires, and until when it need not be verified again."""

    principal: Principal
    expires: float
    until: float


class Authenticator:
    """Turns an Authorization header into a principal; knows a development secret, an issuer, both or none."""

    def __init__(self, secret: str | None, issuer: Issuer | None = None) -> None:
        self._key = OctKey.import_key(secret.encode()) if secret else None
        self._issuer = issuer
        self._known: dict[str, _Known] = {}

    def authenticate(self, authorization: str | None) -> Principal:
        """The caller, or `Unauthenticated`. Verified tokens are remembered until they expire."""
        return self.principal_and_expiry(authorization)[0]

    def principal_and_expiry(self, authorization: str | None) -> tuple[Principal, float]:
        """The caller and when its token ends (seconds since 1970), for connections that outlive a request."""
        if not authorization:
            raise Unauthenticated("Send an Authorization header: Bearer <token>.")
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated("The Authorization header must be: Bearer <token>.")
        now = time.time()
        known = self._known.get(token)
        if known is not None and known.until > now:
            return known.principal, known.expires
        principal, expires = self._verify(token)
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        # Not until it expires: a key that its issuer withdraws must stop to count.
        until = min(expires + LEEWAY_SECONDS, now + REFRESH_SECONDS)
        self._known[token] = _Known(principal, expires, until)
        return principal, expires

    def _verify(self, token: str) -> tuple[Principal, float]:
        try:
            claims = self._claims(token)
            return principal_of(claims), float(claims["exp"])
        except (JoseError, ValueError, KeyError, TypeError) as error:
            raise Unauthenticated("The token is not valid here, or it has expired.") from error

    def _claims(self, token: str) -> dict[str, Any]:
        """The verified claims. The algorithm decides who may have signed: each side takes only its own."""
        algorithm = extract_compact(token.encode()).headers().get("alg")
        if self._key is not None and algorithm in DEVELOPMENT_ALGORITHMS:
            claims = jwt.decode(token, self._key, algorithms=DEVELOPMENT_ALGORITHMS).claims
            _DEVELOPMENT.validate(claims)
            return claims
        if self._issuer is not None:
            return self._issuer.verify(token)
        raise ValueError(f"no token with the algorithm {algorithm!r} is accepted here")


def principal_of(claims: dict[str, Any]) -> Principal:
    """The principal that verified claims describe; raises ValueError or KeyError when they describe none."""

    def ids(name: str) -> tuple[UUID, ...] | None:
        return tuple(UUID(value) for value in claims[name]) if name in claims else None

    def one(name: str) -> UUID | None:
        return UUID(claims[name]) if claims.get(name) else None

    kind = PrincipalKind(claims["kind"])
    scopes = frozenset(Scope(scope) for scope in str(claims.get("scope", "")).split())
    if kind in (PrincipalKind.CUSTOMER, PrincipalKind.GUEST):
        scopes &= PORTAL_SCOPES  # whatever the issuer says, a portal stays a portal
    return Principal(
        kind=kind,
        account=str(claims["sub"]),
        scopes=scopes,
        channels=ids("channels"),
        locations=ids("locations"),
        customer_id=one("customer"),
        company_id=one("company"),
        order_id=one("order"),
    )


def development_token(secret: str, principal: Principal, *, lifetime_seconds: int = 30 * 86_400) -> str:
    """A signed token for `principal`; only servers started with the same secret accept it."""
    now = int(time.time())
    claims: dict[str, Any] = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": principal.account,
        "iat": now,
        "exp": now + lifetime_seconds,
        "kind": str(principal.kind),
        "scope": " ".join(sorted(principal.scopes)),
    }
    if principal.channels is not None:
        claims["channels"] = [str(value) for value in principal.channels]
    if principal.locations is not None:
        claims["locations"] = [str(value) for value in principal.locations]
    for name in ("customer", "company", "order"):
        value = getattr(principal, f"{name}_id")
        if value is not None:
            claims[name] = str(value)
    return jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(secret.encode()))


def staff(account: str = "staff:development") -> Principal:
    return Principal(kind=PrincipalKind.STAFF, account=account, scopes=ALL_SCOPES)


def partner(
    account: str, *, channels: tuple[UUID, ...] | None = None, locations: tuple[UUID, ...] | None = None
) -> Principal:
    return Principal(
        kind=PrincipalKind.PARTNER,
        account=account,
        scopes=PARTNER_SCOPES,
        channels=channels,
        locations=locations,
    )


def customer(customer_id: UUID, company_id: UUID | None = None) -> Principal:
    return Principal(
        kind=PrincipalKind.CUSTOMER,
        account=f"customer:{customer_id}",
        scopes=PORTAL_SCOPES,
        customer_id=customer_id,
        company_id=company_id,
    )


def guest(order_id: UUID) -> Principal:
    return Principal(
        kind=PrincipalKind.GUEST, account=f"guest:{order_id}", scopes=PORTAL_SCOPES, order_id=order_id
    )
