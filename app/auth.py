"""Who is calling: bearer credentials to principals.

Four kinds are accepted. A token of the identity provider of `OMS_JWT_ISSUER`, whose
claims `app/claims.py` reads; an API key (`oms_<id>_<secret>`) of a partner; the token of
a portal link, for one order; and under `oms up` a development token, signed with a secret
made for that data directory. Production refuses to start with a development secret.

A credential that was verified is remembered for a while, so that most requests cost one
look into a dictionary; `app/access.py` forgets all of them when something is revoked.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable
from dataclasses import dataclass, replace
from typing import Any, Protocol
from uuid import UUID

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey
from joserfc.jws import extract_compact

from app.claims import OURS, Claims
from app.issuer import LEEWAY_SECONDS, REFRESH_SECONDS, Issuer
from app.links import GuestLinks
from domain import api_keys
from domain.access import ALL_SCOPES, PORTAL_SCOPES, STAFF_SCOPES, Principal, PrincipalKind, Scope

ISSUER = "maestro-oms-development"
AUDIENCE = "maestro-oms"

MAX_KNOWN = 10_000
"""Verified credentials that are remembered."""
LONGEST_CREDENTIAL = 8_192
KEY_SECONDS = 30.0
"""How long an API key is remembered: it is then read again, and with it noted as used."""
ENDLESS = 4_102_444_800.0
"""The year 2100: when an API key without an end ends."""
DEVELOPMENT_ALGORITHMS = ["HS256"]

_DEVELOPMENT = jwt.JWTClaimsRegistry(
    leeway=LEEWAY_SECONDS,
    iss={"essential": True, "value": ISSUER},
    aud={"essential": True, "value": AUDIENCE},
    exp={"essential": True},
    sub={"essential": True},
)

PARTNER_SCOPES = (
    ALL_SCOPES
    - STAFF_SCOPES
    - {
        Scope.METADATA_PRIVATE,
        Scope.COSTS_READ,
        Scope.CHANNELS_WRITE,
        Scope.ACTORS_READ,
    }
)
"""What a development partner token may do: everything a marketplace, ERP or warehouse needs."""


class Unauthenticated(Exception):
    """The credentials are missing, malformed, expired or not ours; the message says which."""


@dataclass(frozen=True, slots=True)
class Caller:
    """A principal with what is needed to end it: when its credential does, and by what it may be revoked."""

    principal: Principal
    expires: float
    """Seconds since 1970."""
    subject: str = ""
    token_id: str | None = None
    issued_at: float = 0.0
    key_id: UUID | None = None
    digest: bytes = b""
    """Of the secret of `key_id`."""


class Revoked(Protocol):
    """What has been revoked, as far as this process knows."""

    def covers(self, caller: Caller) -> bool: ...


class Keys(Protocol):
    """The API keys in the database."""

    async def caller(self, key_id: UUID, digest: bytes) -> Caller | None:
        """Who has this key, or None when there is no such key, or it has ended."""
        ...


@dataclass(frozen=True, slots=True)
class _Known:
    """A verified credential: whose it is, and until when it need not be verified again."""

    caller: Caller
    until: float


class Authenticator:
    """Turns an Authorization header into a principal; each kind of credential only where it is set up."""

    def __init__(
        self,
        secret: str | None,
        issuer: Issuer | None = None,
        *,
        links: GuestLinks | None = None,
        keys: Keys | None = None,
        revoked: Revoked | None = None,
    ) -> None:
        self._key = OctKey.import_key(secret.encode()) if secret else None
        self._issuer = issuer
        self._links = links
        self._keys = keys
        self._revoked = revoked
        self._known: dict[str, _Known] = {}
        self._forgotten = 0

    def authenticate(self, authorization: str | None) -> Principal | Awaitable[Principal]:
        """The caller, or `Unauthenticated`; to be awaited for an API key that was not used lately."""
        known = self._known.get(authorization or "")
        if known is not None and known.until > time.time():
            return known.caller.principal
        token = _bearer(authorization)
        if token.startswith("oms_"):
            return self._principal_of_key(token)
        return self._remember(token, self._verified(token)).principal

    async def admit(self, authorization: str | None) -> Caller:
        """The same with all that is known of the credential, for connections that outlive a request."""
        known = self._known.get(authorization or "")
        if known is not None and known.until > time.time():
            return known.caller
        token = _bearer(authorization)
        caller = await self._of_key(token) if token.startswith("oms_") else self._verified(token)
        return self._remember(token, caller)

    async def still_valid(self, caller: Caller) -> bool:
        """Whether nothing has ended this caller's credential since it was admitted."""
        if caller.expires + LEEWAY_SECONDS <= time.time():
            return False
        if caller.key_id is not None:
            found = await self._keys.caller(caller.key_id, caller.digest) if self._keys else None
            return found is not None and found.principal == caller.principal
        return self._revoked is None or not self._revoked.covers(caller)

    def forget(self) -> None:
        """Verify every credential again: something was revoked."""
        self._forgotten += 1
        self._known.clear()

    def _remember(self, token: str, caller: Caller) -> Caller:
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        # Not until it expires: a key that its issuer withdraws must stop to count.
        now = time.time()
        until = (
            min(caller.expires + LEEWAY_SECONDS, now + REFRESH_SECONDS)
            if caller.key_id is None
            else min(caller.expires, now + KEY_SECONDS)
        )
        self._known[f"Bearer {token}"] = _Known(caller, until)
        return caller

    # API keys.

    async def _principal_of_key(self, token: str) -> Principal:
        return self._remember(token, await self._of_key(token)).principal

    async def _of_key(self, token: str) -> Caller:
        parts = api_keys.parts_of(token)
        while parts is not None and self._keys is not None:
            forgotten = self._forgotten
            found = await self._keys.caller(parts[0], api_keys.digest_of(parts[1]))
            if found is None:
                break
            if forgotten == self._forgotten:  # else it may be this one that was revoked meanwhile
                return found
        raise Unauthenticated("The API key is not valid here, or it has ended.")

    # Signed tokens.

    def _verified(self, token: str) -> Caller:
        try:
            caller = self._of_token(token)
        except (JoseError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise Unauthenticated("The token is not valid here, or it has expired.") from error
        if self._revoked is not None and self._revoked.covers(caller):
            raise Unauthenticated("The token has been revoked.")
        return caller

    def _of_token(self, token: str) -> Caller:
        """The algorithm decides who may have signed: each side takes only its own."""
        algorithm = extract_compact(token.encode()).headers().get("alg")
        if algorithm in DEVELOPMENT_ALGORITHMS:
            if self._links is not None and (link := self._links.verified(token)) is not None:
                principal, claims = link
                return _caller(principal, claims)
            if self._key is not None:
                claims = jwt.decode(token, self._key, algorithms=DEVELOPMENT_ALGORITHMS).claims
                _DEVELOPMENT.validate(claims)
                return _caller(OURS.principal_of(claims), claims)
        elif self._issuer is not None:
            claims = self._issuer.verify(token)
            return _caller(self._issuer.claims.principal_of(claims), claims)
        raise ValueError("no token with this algorithm is accepted here")


def _bearer(authorization: str | None) -> str:
    """The credential of the header, or `Unauthenticated`."""
    if not authorization:
        raise Unauthenticated("Send an Authorization header: Bearer <token>.")
    scheme, _, token = authorization.partition(" ")
    token = token.strip(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated("The Authorization header must be: Bearer <token>.")
    if len(token) > LONGEST_CREDENTIAL or not token.isascii():
        raise Unauthenticated("The token is not valid here, or it has expired.")
    return token


def _caller(principal: Principal, claims: dict[str, Any]) -> Caller:
    token_id = claims.get("jti")
    expires, issued_at = float(claims["exp"]), float(claims.get("iat", 0))
    if not (math.isfinite(expires) and math.isfinite(issued_at)):
        raise ValueError("not a time")
    return Caller(
        principal=replace(principal, credential=str(token_id)[:128] if token_id else None),
        expires=expires,
        subject=str(claims["sub"]),
        token_id=str(token_id) if token_id else None,
        issued_at=issued_at,
    )


def development_token(secret: str, principal: Principal, *, lifetime_seconds: int = 30 * 86_400) -> str:
    """A signed token for `principal`; only servers started with the same secret accept it."""
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": principal.account,
        "iat": now,
        "exp": now + lifetime_seconds,
        **Claims.describing(principal),
    }
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
