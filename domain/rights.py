"""What scopes allow and who sees which rows, in words: for the schema's descriptions and `docs/access.md`.

`db/visibility.py` holds the same rules as SQL. A test compares where they say "all" and "none".
"""

from __future__ import annotations

from dataclasses import dataclass

from domain.access import Scope

ALL = "all"
NONE = "none"

SCOPES: dict[Scope, str] = {
    Scope.ORDERS_READ: "read orders, their lines, holds and discrepancies",
    Scope.ORDERS_WRITE: "place, change, hold and cancel orders; make portal links",
    Scope.STOCK_READ: "read stock, its ledger, reservations and availability",
    Scope.STOCK_WRITE: "receive, adjust, move and reserve stock",
    Scope.SHIPMENTS_READ: "read fulfillment orders, shipments and parcels",
    Scope.SHIPMENTS_WRITE: "accept, pick, pack and dispatch; report carriers' scans",
    Scope.RETURNS_READ: "read returns",
    Scope.RETURNS_REQUEST: "ask for a return of what one may see",
    Scope.RETURNS_WRITE: "approve, receive, inspect and close returns",
    Scope.PAYMENTS_READ: "read payments and refunds",
    Scope.PAYMENTS_WRITE: "request, report and refund payments",
    Scope.CATALOG_READ: "read products, price lists and prices",
    Scope.CATALOG_WRITE: "write products, price lists and prices",
    Scope.CUSTOMERS_READ: "read customers and companies, without how to reach them",
    Scope.CUSTOMERS_WRITE: "write customers and companies",
    Scope.CUSTOMERS_CONTACT: "read e-mail addresses, telephone numbers, addresses and tax numbers",
    Scope.LOCATIONS_READ: "read locations",
    Scope.LOCATIONS_WRITE: "write locations",
    Scope.CHANNELS_READ: "read channels",
    Scope.CHANNELS_WRITE: "write channels",
    Scope.COSTS_READ: "read what goods cost us",
    Scope.METADATA_PRIVATE: "read and write private metadata",
    Scope.EVENTS_READ: "read and follow events",
    Scope.ACTORS_READ: "read which of our people or systems did something",
    Scope.ACCESS_READ: "read API keys and revoked tokens",
    Scope.ACCESS_WRITE: "make, rotate and revoke API keys; revoke tokens",
    Scope.AUDIT_READ: "read the audit",
    Scope.PRIVACY_WRITE: "export and erase a customer's personal data",
}


@dataclass(frozen=True, slots=True)
class Rows:
    """Which rows are seen by staff and partners bounded to channels, to locations; by customers and guests.

    Staff and partners without bounds see all rows unless `unbounded` says else; those with both bounds see
    what both show.
    """

    channels: str
    locations: str
    customer: str
    guest: str
    unbounded: str = ALL


_OF_ORDER = Rows("of orders one sees", "of orders one sees", "of one's orders", "of the order")
_INTERNAL = Rows("of orders one sees", "of orders one sees", NONE, NONE)
_STAFFS = Rows(NONE, NONE, NONE, NONE, unbounded="all for staff, none for partners")

ROWS: dict[str, Rows] = {
    "api_key": _STAFFS,
    "revocation": _STAFFS,
    "audit_entry": _STAFFS,
    "channel": Rows("one's channels", "served by one's locations", "of one's orders", "of the order"),
    "channel_location": Rows("of one's channels", "of one's locations", NONE, NONE),
    "external_id": Rows("in one's channels, or in none", ALL, NONE, NONE),
    "location": Rows(
        "that serve one's channels", "one's locations", "that sent one's orders", "that sent the order"
    ),
    "company": Rows(
        "of orders one sees, or that one has named",
        "of orders one sees",
        "one's company, where one sees its orders",
        NONE,
    ),
    "customer": Rows(
        "of orders one sees, or that one has named",
        "of orders one sees",
        "oneself, and the colleagues whose orders one sees",
        "of the order",
    ),
    "product": Rows(ALL, ALL, ALL, ALL),
    "price_list": Rows("of one's channels, or of none", "of channels one serves, or of none", NONE, NONE),
    "price": Rows("of price lists one sees", "of price lists one sees", NONE, NONE),
    "stock_level": Rows("at locations that serve one's channels", "at one's locations", NONE, NONE),
    "stock_movement": Rows("at locations that serve one's channels", "at one's locations", NONE, NONE),
    "allocation": _INTERNAL,
    "backorder": _INTERNAL,
    "availability": Rows("in one's channels", "in channels one serves", ALL, ALL),
    "reservation": Rows("of one's channels", "that lie wholly at one's locations", NONE, NONE),
    "reservation_line": Rows("of reservations one sees", "of reservations one sees", NONE, NONE),
    "orders": Rows(
        "of one's channels",
        "that one's locations were asked to fulfil",
        "one's own, and one's company's where the token names it",
        "the one order",
    ),
    "order_line": _OF_ORDER,
    "order_adjustment": _OF_ORDER,
    "order_tax_line": _OF_ORDER,
    "order_hold": _INTERNAL,
    "payment": _OF_ORDER,
    "payment_transaction": _OF_ORDER,
    "refund": _OF_ORDER,
    "fulfillment_order": Rows("of orders one sees", "of one's locations", NONE, NONE),
    "fulfillment_order_line": Rows("of orders one sees", "of one's locations", NONE, NONE),
    "shipment": Rows("of orders one sees", "from one's locations", "of one's orders", "of the order"),
    "shipment_line": Rows("of orders one sees", "from one's locations", "of one's orders", "of the order"),
    "package": Rows("of orders one sees", "from one's locations", "of one's orders", "of the order"),
    "carrier_event": Rows("of orders one sees", "from one's locations", "of one's orders", "of the order"),
    "returns": Rows(
        "of one's channels", "to one's locations", "one's own, and of orders one sees", "of the order"
    ),
    "return_line": Rows(
        "of one's channels", "to one's locations", "one's own, and of orders one sees", "of the order"
    ),
    "discrepancy": _INTERNAL,
    "event": Rows(
        "in one's channels, or at locations that serve them",
        "at one's locations, or of orders one sees",
        "of one's orders, those that tell a customer something",
        "of the order, those that tell a customer something",
    ),
    "event_log": Rows(
        "in one's channels, or at locations that serve them",
        "at one's locations, or of orders one sees",
        "of one's orders, those that tell a customer something",
        "of the order, those that tell a customer something",
    ),
}
"""By table."""


def who_sees(table: str) -> str | None:
    """A sentence or two for a type's description; None for a table that these rules do not know."""
    rows = ROWS.get(table)
    if rows is None:
        return None
    if rows.unbounded != ALL:
        return f"Rows: {rows.unbounded}."
    parts = [
        f"bounded to channels: {rows.channels}",
        f"to locations: {rows.locations}",
        f"customers: {rows.customer}",
        f"guests: {rows.guest}",
    ]
    return f"Rows that are seen: {'; '.join(parts)}."


def needs(scope: Scope) -> str:
    return f"Needs `{scope}`."
