"""Who sees which row, told a second time: plain Python over rows in memory, from the rules and not from the SQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from domain.access import Principal, PrincipalKind
from domain.events import CUSTOMER_EVENT_TYPES

Row = Mapping[str, Any]
Tables = Mapping[str, Sequence[Row]]

PORTAL = (PrincipalKind.CUSTOMER, PrincipalKind.GUEST)
SEEN_BY_ALL = {"product"}
OF_ORDER = {"order_line", "order_adjustment", "order_tax_line", "payment", "refund"}
STAFF_OF_ORDER = {"order_hold", "allocation", "backorder"}
PARENTS = {
    "payment_transaction": ("payment", "payment_id"),
    "fulfillment_order_line": ("fulfillment_order", "fulfillment_order_id"),
    "shipment_line": ("shipment", "shipment_id"),
    "package": ("shipment", "shipment_id"),
    "carrier_event": ("package", "package_id"),
    "return_line": ("returns", "return_id"),
    "price": ("price_list", "price_list_id"),
    "reservation_line": ("reservation", "reservation_id"),
}
WITH_PARENT_STAFF_ONLY = {"order_hold", "allocation", "backorder", "discrepancy"}
WITH_PARENT_HERE_ONLY = {"fulfillment_order", "shipment", "returns"}
NOT_FOR_PORTALS = {"fulfillment_order", "channel_location", "reservation", "external_id", "price_list"}
AS_FROM_ROOT = {
    "external_id", "stock_level", "stock_movement", "channel_location", "price", "event", "event_log",
}  # fmt: skip


class Sight:
    """What one caller sees of some tables."""

    def __init__(self, tables: Tables, caller: Principal) -> None:
        self._tables = tables
        self._caller = caller
        self._portal = caller.kind in PORTAL
        self._by_id = {name: {row.get("id"): row for row in rows} for name, rows in tables.items()}
        self._orders = {row["id"] for row in tables["orders"] if self._order(row)}
        self._known: dict[tuple[str, int], bool] = {}

    def sees(self, table: str, row: Row, *, with_parent: bool = False) -> bool:
        """Whether the caller may have the row, found from the root or through a parent that it sees."""
        if not with_parent or table in AS_FROM_ROOT:
            known = self._known.get((table, id(row)))
            if known is None:
                known = self._known[table, id(row)] = self._from_root(table, row)
            return known
        if table in WITH_PARENT_STAFF_ONLY:
            return not self._portal
        if table == "fulfillment_order" and self._portal:
            return False
        if table in WITH_PARENT_HERE_ONLY:
            return self._caller.locations is None or row["location_id"] in self._caller.locations
        return True

    def _from_root(self, table: str, row: Row) -> bool:  # noqa: PLR0911, PLR0912 - one answer a table
        caller = self._caller
        if table in SEEN_BY_ALL:
            return True
        if table == "orders":
            return row["id"] in self._orders
        if table in OF_ORDER:
            return row["order_id"] in self._orders
        if table in STAFF_OF_ORDER:
            return not self._portal and row["order_id"] in self._orders
        if table in NOT_FOR_PORTALS and self._portal:
            return False
        if table in PARENTS:
            parent, column = PARENTS[table]
            found = self._by_id[parent].get(row[column])
            return found is not None and self.sees(parent, found)
        match table:
            case "api_key" | "revocation" | "audit_entry":
                return (
                    caller.kind is PrincipalKind.STAFF
                    and caller.channels is None
                    and caller.locations is None
                )
            case "fulfillment_order" | "shipment":
                if caller.locations is None:
                    return row["order_id"] in self._orders
                here = row["location_id"] in caller.locations
                return here and (caller.channels is None or row["order_id"] in self._orders)
            case "returns":
                return self._return(row)
            case "channel":
                if self._portal:
                    return any(self._by_id["orders"][id]["channel_id"] == row["id"] for id in self._orders)
                return self._sold_through(row["id"])
            case "channel_location":
                here = caller.locations is None or row["location_id"] in caller.locations
                return here and self._channel(row["channel_id"])
            case "reservation":
                return self._channel(row["channel_id"]) and self._holds_only_here(row["id"])
            case "availability":
                return self._portal or self._sold_through(row["channel_id"])
            case "external_id":
                return row["channel_id"] is None or self._channel(row["channel_id"])
            case "price_list":
                return row["channel_id"] is None or self._sold_through(row["channel_id"])
            case "location":
                if self._portal:
                    return any(
                        sent["location_id"] == row["id"] and sent["order_id"] in self._orders
                        for sent in self._tables["shipment"]
                    )
                return self._held_at(row["id"])
            case "stock_level" | "stock_movement":
                return not self._portal and self._held_at(row["location_id"])
            case "customer" | "company":
                return self._party(table, row)
            case "discrepancy":
                if self._portal:
                    return False
                unbounded = caller.channels is None and caller.locations is None
                return unbounded or row["order_id"] in self._orders
            case "event" | "event_log":
                return self._event(row)
        raise LookupError(table)

    def _channel(self, channel_id: Any) -> bool:
        return self._caller.channels is None or channel_id in self._caller.channels

    def _sold_through(self, channel_id: Any) -> bool:
        locations = self._caller.locations
        served = locations is None or any(
            each["channel_id"] == channel_id and each["location_id"] in locations
            for each in self._tables["channel_location"]
        )
        return served and self._channel(channel_id)

    def _holds_only_here(self, reservation_id: Any) -> bool:
        locations = self._caller.locations
        if locations is None:
            return True
        places = [
            self._by_id["stock_level"][line["stock_level_id"]]["location_id"]
            for line in self._tables["reservation_line"]
            if line["reservation_id"] == reservation_id
        ]
        return bool(places) and all(place in locations for place in places)

    def _mine(self, row: Row) -> bool:
        caller = self._caller
        if caller.customer_id is not None and row["customer_id"] == caller.customer_id:
            return True
        return caller.company_id is not None and row["company_id"] == caller.company_id

    def _order(self, row: Row) -> bool:
        caller = self._caller
        if caller.kind is PrincipalKind.GUEST:
            return bool(row["id"] == caller.order_id)
        if caller.kind is PrincipalKind.CUSTOMER:
            return self._mine(row)
        sent_from = {
            asked["location_id"]
            for asked in self._tables["fulfillment_order"]
            if asked["order_id"] == row["id"]
        }
        here = caller.locations is None or not sent_from.isdisjoint(caller.locations)
        return here and self._channel(row["channel_id"])

    def _return(self, row: Row) -> bool:
        caller = self._caller
        if caller.kind is PrincipalKind.GUEST:
            return bool(row["order_id"] == caller.order_id)
        if caller.kind is PrincipalKind.CUSTOMER:
            mine = row["customer_id"] is not None and row["customer_id"] == caller.customer_id
            return mine or (caller.company_id is not None and row["order_id"] in self._orders)
        here = caller.locations is None or row["location_id"] in caller.locations
        return here and self._channel(row["channel_id"])

    def _held_at(self, location_id: Any) -> bool:
        caller = self._caller
        here = caller.locations is None or location_id in caller.locations
        return here and (caller.channels is None or self._serves(location_id))

    def _serves(self, location_id: Any) -> bool:
        return any(
            served["location_id"] == location_id and self._channel(served["channel_id"])
            for served in self._tables["channel_location"]
        )

    def _party(self, table: str, row: Row) -> bool:
        caller = self._caller
        company = caller.company_id is not None
        if caller.kind is PrincipalKind.CUSTOMER:
            if table == "company":
                return company and row["id"] == caller.company_id
            return row["id"] == caller.customer_id or (company and row["company_id"] == caller.company_id)
        if caller.kind is PrincipalKind.GUEST and table == "company":
            return False
        if caller.kind is not PrincipalKind.GUEST and caller.channels is None and caller.locations is None:
            return True
        bought = any(self._by_id["orders"][id][f"{table}_id"] == row["id"] for id in self._orders)
        if bought or caller.kind is PrincipalKind.GUEST or caller.channels is None:
            return bought
        return any(
            name["entity_id"] == row["id"] and name["channel_id"] in caller.channels
            for name in self._tables["external_id"]
        )

    def _event(self, row: Row) -> bool:
        caller = self._caller
        if self._portal:
            if row["type"] not in {str(kind) for kind in CUSTOMER_EVENT_TYPES}:
                return False
            if caller.kind is PrincipalKind.GUEST:
                return bool(row["order_id"] == caller.order_id)
            return self._mine(row)
        if caller.channels is not None:
            own = row["channel_id"] in caller.channels
            if not own and (row["channel_id"] is not None or not self._serves(row["location_id"])):
                return False
        if caller.locations is not None:
            return row["location_id"] in caller.locations or row["order_id"] in self._orders
        return True
