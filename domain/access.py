"""Who is asking: the principal, its scopes and its bounds.

A principal's *kind* and *which bounds it has* decide the shape of the SQL that
reads for it (its visibility class); the bounds' *values* are always bound as
parameters, so one compiled statement serves every principal of a class.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID


class PrincipalKind(StrEnum):
    """STAFF work here, PARTNER systems call us, a CUSTOMER sees its own, a GUEST one order."""

    STAFF = "STAFF"
    PARTNER = "PARTNER"
    CUSTOMER = "CUSTOMER"
    GUEST = "GUEST"


class Scope(StrEnum):
    """What a principal may do; every root field and every sensitive field names one."""

    ORDERS_READ = "orders:read"
    ORDERS_WRITE = "orders:write"
    STOCK_READ = "stock:read"
    STOCK_WRITE = "stock:write"
    SHIPMENTS_READ = "shipments:read"
    SHIPMENTS_WRITE = "shipments:write"
    RETURNS_READ = "returns:read"
    RETURNS_REQUEST = "returns:request"  # ask for a return of what one may see
    RETURNS_WRITE = "returns:write"  # approve, receive, inspect, close
    PAYMENTS_READ = "payments:read"
    PAYMENTS_WRITE = "payments:write"
    CATALOG_READ = "catalog:read"
    CATALOG_WRITE = "catalog:write"
    CUSTOMERS_READ = "customers:read"
    CUSTOMERS_WRITE = "customers:write"
    CUSTOMERS_CONTACT = "customers:contact"  # e-mail, telephone and addresses
    LOCATIONS_READ = "locations:read"
    LOCATIONS_WRITE = "locations:write"
    CHANNELS_READ = "channels:read"
    CHANNELS_WRITE = "channels:write"
    COSTS_READ = "costs:read"  # what goods cost us
    METADATA_PRIVATE = "metadata:private"
    EVENTS_READ = "events:read"
    ACTORS_READ = "actors:read"  # which of our people or systems did something
    ACCESS_READ = "access:read"  # API keys and revoked tokens
    ACCESS_WRITE = "access:write"
    AUDIT_READ = "audit:read"
    PRIVACY_WRITE = "privacy:write"  # export and erase a customer's personal data


ALL_SCOPES: frozenset[Scope] = frozenset(Scope)

STAFF_SCOPES: frozenset[Scope] = frozenset(
    {Scope.ACCESS_READ, Scope.ACCESS_WRITE, Scope.AUDIT_READ, Scope.PRIVACY_WRITE}
)
"""What no partner, customer or guest has, whatever a token says."""

PORTAL_SCOPES: frozenset[Scope] = frozenset(
    {
        Scope.ORDERS_READ,
        Scope.SHIPMENTS_READ,
        Scope.RETURNS_READ,
        Scope.RETURNS_REQUEST,
        Scope.PAYMENTS_READ,
        Scope.CATALOG_READ,
        Scope.CUSTOMERS_READ,
        Scope.CUSTOMERS_CONTACT,
        Scope.CHANNELS_READ,
        Scope.LOCATIONS_READ,
        Scope.EVENTS_READ,
    }
)
"""What a customer or a guest may do with what its bounds show it."""


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller.

    `channels` and `locations` of None mean unbounded; an empty tuple means none
    at all. A CUSTOMER has `customer_id` or `company_id`; a GUEST has `order_id`.
    `account` names the caller for idempotency keys, rate limits and the record; of customers it
    never holds more than their id. `credential` is which of its keys or tokens was used.
    """

    kind: PrincipalKind
    account: str
    scopes: frozenset[Scope]
    channels: tuple[UUID, ...] | None = None
    locations: tuple[UUID, ...] | None = None
    customer_id: UUID | None = None
    company_id: UUID | None = None
    order_id: UUID | None = None
    credential: str | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if self.kind is PrincipalKind.CUSTOMER and self.customer_id is None and self.company_id is None:
            raise ValueError("a CUSTOMER principal needs customer_id or company_id")
        if self.kind is PrincipalKind.GUEST and self.order_id is None:
            raise ValueError("a GUEST principal needs order_id")

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes


@dataclass(frozen=True, slots=True)
class VisibilityClass:
    """What of a principal decides the text of its statements; hashable, part of a plan's key."""

    kind: PrincipalKind
    by_channel: bool
    by_location: bool
    by_company: bool
    scopes: frozenset[Scope]

    @classmethod
    def of(cls, principal: Principal) -> VisibilityClass:
        return cls(
            kind=principal.kind,
            by_channel=principal.channels is not None,
            by_location=principal.locations is not None,
            by_company=principal.company_id is not None,
            scopes=principal.scopes,
        )


SYSTEM = Principal(kind=PrincipalKind.STAFF, account="system", scopes=ALL_SCOPES)
"""Workers, imports and migrations act as this principal."""
