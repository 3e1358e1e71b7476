"""From verified claims to a principal, by the names that the identity provider uses.

A name is a claim's, or a path with dots into nested ones (`realm_access.roles`). Scopes may be
a text with spaces or a list; those that are not ours (`openid`, `profile`) say nothing here.
Ids may be UUIDs or our global ids.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from domain.access import PORTAL_SCOPES, STAFF_SCOPES, Principal, PrincipalKind, Scope
from domain.ids import split_id

EVERYWHERE = "*"
"""What the claim of a partner's channels or locations holds when it is not bounded in them."""

RESERVED = ("key:", "system")
"""Accounts of API keys and of our own work: no subject may call itself so."""

LONGEST_ACCOUNT = 200

_SCOPES = {str(scope): scope for scope in Scope}


@dataclass(frozen=True, slots=True)
class Claims:
    """The names of the claims that are read."""

    kind: str = "kind"
    scopes: str = "scope"
    channels: str = "channels"
    locations: str = "locations"
    customer: str = "customer"
    company: str = "company"
    order: str = "order"

    def principal_of(self, claims: Mapping[str, Any]) -> Principal:
        """The principal that verified claims describe; raises ValueError or KeyError when they describe none.

        A PARTNER must be bounded to channels or locations, or say `*` where it is not.
        """
        kind = PrincipalKind(str(_required(claims, self.kind)).upper())
        scopes = self._scopes(claims)
        if kind in (PrincipalKind.CUSTOMER, PrincipalKind.GUEST):
            scopes &= PORTAL_SCOPES  # whatever the issuer says, a portal stays a portal
        elif kind is PrincipalKind.PARTNER:
            scopes -= STAFF_SCOPES
            if _found(claims, self.channels) is None and _found(claims, self.locations) is None:
                raise ValueError("a PARTNER names its channels or locations, or * for all of them")
        customer, company = _one(claims, self.customer), _one(claims, self.company)
        return Principal(
            kind=kind,
            account=_account(kind, str(claims["sub"]), customer, company),
            scopes=scopes,
            channels=_ids(claims, self.channels),
            locations=_ids(claims, self.locations),
            customer_id=customer,
            company_id=company,
            order_id=_one(claims, self.order),
        )

    def _scopes(self, claims: Mapping[str, Any]) -> frozenset[Scope]:
        given = _found(claims, self.scopes)
        if given is None:
            return frozenset()
        names = given.split() if isinstance(given, str) else given
        if not isinstance(names, list):
            raise ValueError("scopes are a text or a list")
        return frozenset(_SCOPES[name] for name in names if isinstance(name, str) and name in _SCOPES)

    @staticmethod
    def describing(principal: Principal) -> dict[str, Any]:
        """The claims, by our own names, that `OURS.principal_of` reads this principal from."""
        claims: dict[str, Any] = {
            "kind": str(principal.kind),
            "scope": " ".join(sorted(principal.scopes)),
        }
        for name, bound in (("channels", principal.channels), ("locations", principal.locations)):
            if bound is not None:
                claims[name] = [str(value) for value in bound]
            elif principal.kind is PrincipalKind.PARTNER:
                claims[name] = EVERYWHERE
        for name in ("customer", "company", "order"):
            value = getattr(principal, f"{name}_id")
            if value is not None:
                claims[name] = str(value)
        return claims


OURS = Claims()


def _found(claims: Mapping[str, Any], name: str) -> Any:
    """The claim of this very name, else the one at this path; None when there is none."""
    if name in claims:
        return claims[name]
    value: Any = claims
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return value


def _required(claims: Mapping[str, Any], name: str) -> Any:
    found = _found(claims, name)
    if found is None:
        raise KeyError(name)
    return found


def _ids(claims: Mapping[str, Any], name: str) -> tuple[UUID, ...] | None:
    given = _found(claims, name)
    if given is None or given in (EVERYWHERE, [EVERYWHERE]):
        return None
    values = given.split() if isinstance(given, str) else given
    if not isinstance(values, list):
        raise ValueError("ids are a text or a list")
    return tuple(_id(value) for value in values)


def _one(claims: Mapping[str, Any], name: str) -> UUID | None:
    given = _found(claims, name)
    return _id(given) if given else None


def _id(value: Any) -> UUID:
    if not isinstance(value, str):
        raise ValueError("an id is a text")
    parts = split_id(value)
    return parts[1] if parts is not None else UUID(value)


def _account(kind: PrincipalKind, subject: str, customer: UUID | None, company: UUID | None) -> str:
    """The name for the record. A customer's subject may be an e-mail address: it is never written anywhere."""
    if kind is PrincipalKind.CUSTOMER:
        if customer is not None:
            return f"customer:{customer}"
        return f"company:{company}/{hashlib.sha256(subject.encode()).hexdigest()[:16]}"
    if not 0 < len(subject) <= LONGEST_ACCOUNT or not subject.isprintable():
        raise ValueError("the subject is no account")
    if subject.startswith(RESERVED):
        raise ValueError("the subject is reserved")
    return subject
