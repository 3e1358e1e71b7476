"""Which rows a principal may see: one predicate per table, compiled into every scan.

`predicate(table, row, caller)` answers for a table that is read from the root.
`through_parent=True` answers for a row reached through a visible parent by its
foreign key: most children need nothing more then, but a child that is staff's
business, or that belongs to one location, still says so here.

Values are always bound (`values(principal)`); only the caller's class decides the
text. A table without an entry does not compile: forgetting one is a LookupError,
not a leak.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, FromClause
from sqlalchemy.dialects.postgresql import ARRAY

from db.channels import ChannelLocation, ExternalId
from db.fulfillment import FulfillmentOrder
from db.orders import Order
from db.payments import Payment
from db.products import PriceList
from db.returns import Return
from db.shipments import Package, Shipment
from db.stock import Reservation, ReservationLine, StockLevel
from domain.access import Principal, PrincipalKind, VisibilityClass
from domain.events import CUSTOMER_EVENT_TYPES

Predicate = ColumnElement[bool]
Rule = Callable[[FromClause, VisibilityClass], Predicate]

_UUIDS = ARRAY(sa.Uuid())
PORTAL = frozenset({PrincipalKind.CUSTOMER, PrincipalKind.GUEST})


def values(principal: Principal) -> dict[str, Any]:
    """The bound values of every parameter that predicates use for this principal."""
    return {
        # Each once: a page is merged from one page for each.
        "principal_channels": list(dict.fromkeys(principal.channels or ())),
        "principal_locations": list(principal.locations or ()),
        "principal_customer": principal.customer_id,
        "principal_company": principal.company_id,
        "principal_order": principal.order_id,
    }


def _in_channels(column: ColumnElement[Any]) -> Predicate:
    return column == sa.any_(sa.bindparam("principal_channels", type_=_UUIDS))


def _in_locations(column: ColumnElement[Any]) -> Predicate:
    return column == sa.any_(sa.bindparam("principal_locations", type_=_UUIDS))


def _customer() -> ColumnElement[Any]:
    return sa.bindparam("principal_customer", type_=sa.Uuid())


def _company() -> ColumnElement[Any]:
    return sa.bindparam("principal_company", type_=sa.Uuid())


def _order() -> ColumnElement[Any]:
    return sa.bindparam("principal_order", type_=sa.Uuid())


def _own(row: FromClause, caller: VisibilityClass) -> Predicate:
    """Rows that carry `customer_id` and `company_id`, for a CUSTOMER."""
    mine: Predicate = row.c.customer_id == _customer()
    return sa.or_(mine, row.c.company_id == _company()) if caller.by_company else mine


def _orders(row: FromClause, caller: VisibilityClass) -> Predicate:
    if caller.kind is PrincipalKind.GUEST:
        return row.c.id == _order()
    if caller.kind is PrincipalKind.CUSTOMER:
        return _own(row, caller)
    conditions: list[Predicate] = []
    if caller.by_channel:
        conditions.append(_in_channels(row.c.channel_id))
    if caller.by_location:
        sent_from = FulfillmentOrder.__table__.alias()
        conditions.append(
            sa.exists().where(sent_from.c.order_id == row.c.id, _in_locations(sent_from.c.location_id))
        )
    return sa.and_(sa.true(), *conditions)


def _of_visible_order(row: FromClause, caller: VisibilityClass) -> Predicate:
    order = Order.__table__.alias()
    return sa.exists().where(order.c.id == row.c.order_id, _orders(order, caller))


def _staff_of_order(row: FromClause, caller: VisibilityClass) -> Predicate:
    return sa.false() if caller.kind in PORTAL else _of_visible_order(row, caller)


def _sent_from_location(row: FromClause, caller: VisibilityClass) -> Predicate:
    """Fulfillment orders and shipments: a location sees its own, whoever may see orders sees theirs."""
    if not caller.by_location:
        return _of_visible_order(row, caller)
    here = _in_locations(row.c.location_id)
    if caller.by_channel:
        return sa.and_(here, _of_visible_order(row, caller))
    return here


def _fulfillment_orders(row: FromClause, caller: VisibilityClass) -> Predicate:
    """What is asked of locations is the merchant's business: customers see what leaves them."""
    return sa.false() if caller.kind in PORTAL else _sent_from_location(row, caller)


def _through(table: Any, join: Callable[[FromClause, FromClause], Predicate], rule: Rule) -> Rule:
    """A row is visible when the row of `table` it hangs on is."""

    def visible(row: FromClause, caller: VisibilityClass) -> Predicate:
        parent = table.__table__.alias()
        return sa.exists().where(join(row, parent), rule(parent, caller))

    return visible


def _returns(row: FromClause, caller: VisibilityClass) -> Predicate:
    if caller.kind is PrincipalKind.GUEST:
        return row.c.order_id == _order()
    if caller.kind is PrincipalKind.CUSTOMER:
        mine: Predicate = row.c.customer_id == _customer()
        return sa.or_(mine, _of_visible_order(row, caller)) if caller.by_company else mine
    conditions: list[Predicate] = []
    if caller.by_channel:
        conditions.append(_in_channels(row.c.channel_id))
    if caller.by_location:
        conditions.append(_in_locations(row.c.location_id))
    return sa.and_(sa.true(), *conditions)


def _channels(row: FromClause, caller: VisibilityClass) -> Predicate:
    if caller.kind in PORTAL:
        order = Order.__table__.alias()
        return sa.exists().where(order.c.channel_id == row.c.id, _orders(order, caller))
    return _sold_through(row.c.id, caller)


def _sold_through(channel_id: ColumnElement[Any], caller: VisibilityClass) -> Predicate:
    """Channels and what belongs to them: one's own, and those that one's locations serve."""
    conditions: list[Predicate] = []
    if caller.by_channel:
        conditions.append(_in_channels(channel_id))
    if caller.by_location:
        served = ChannelLocation.__table__.alias()
        conditions.append(
            sa.exists().where(served.c.channel_id == channel_id, _in_locations(served.c.location_id))
        )
    return sa.and_(sa.true(), *conditions)


def _channel_locations(row: FromClause, caller: VisibilityClass) -> Predicate:
    if caller.kind in PORTAL:
        return sa.false()
    conditions: list[Predicate] = []
    if caller.by_channel:
        conditions.append(_in_channels(row.c.channel_id))
    if caller.by_location:
        conditions.append(_in_locations(row.c.location_id))
    return sa.and_(sa.true(), *conditions)


def _serves_channels(location_id: ColumnElement[Any]) -> Predicate:
    served = ChannelLocation.__table__.alias()
    return sa.exists().where(served.c.location_id == location_id, _in_channels(served.c.channel_id))


def _held_at(location_id: ColumnElement[Any], caller: VisibilityClass) -> Predicate:
    """Stock and locations: by location, and by the locations that serve one's channels."""
    conditions: list[Predicate] = []
    if caller.by_location:
        conditions.append(_in_locations(location_id))
    if caller.by_channel:
        conditions.append(_serves_channels(location_id))
    return sa.and_(sa.true(), *conditions)


def _locations(row: FromClause, caller: VisibilityClass) -> Predicate:
    if caller.kind in PORTAL:
        shipment, order = Shipment.__table__.alias(), Order.__table__.alias()
        return sa.exists().where(
            shipment.c.location_id == row.c.id,
            order.c.id == shipment.c.order_id,
            _orders(order, caller),
        )
    return _held_at(row.c.id, caller)


def _stock(row: FromClause, caller: VisibilityClass) -> Predicate:
    return sa.false() if caller.kind in PORTAL else _held_at(row.c.location_id, caller)


def _customers(row: FromClause, caller: VisibilityClass) -> Predicate:
    if caller.kind is PrincipalKind.CUSTOMER:
        mine: Predicate = row.c.id == _customer()
        return sa.or_(mine, row.c.company_id == _company()) if caller.by_company else mine
    order = Order.__table__.alias()
    if caller.kind is PrincipalKind.GUEST:
        return sa.exists().where(order.c.customer_id == row.c.id, order.c.id == _order())
    if not caller.by_channel and not caller.by_location:
        return sa.true()
    bought = _looked_up(order.c.customer_id == row.c.id, _orders(order, caller))
    return sa.or_(bought, _named_by_channel(row)) if caller.by_channel else bought


def _looked_up(*conditions: Predicate) -> sa.Exists:
    """EXISTS that is asked row by row, by an index: OFFSET keeps it from being hashed over the whole table."""
    return sa.select(sa.literal_column("1")).where(*conditions).offset(sa.literal_column("0")).exists()


def _named_by_channel(row: FromClause) -> Predicate:
    """A partner may see what it has itself given an external id in its channel."""
    name = ExternalId.__table__.alias()
    return _looked_up(name.c.entity_id == row.c.id, _in_channels(name.c.channel_id))


def _companies(row: FromClause, caller: VisibilityClass) -> Predicate:
    if caller.kind is PrincipalKind.GUEST:
        return sa.false()
    if caller.kind is PrincipalKind.CUSTOMER:
        return row.c.id == _company() if caller.by_company else sa.false()
    if not caller.by_channel and not caller.by_location:
        return sa.true()
    order = Order.__table__.alias()
    bought = _looked_up(order.c.company_id == row.c.id, _orders(order, caller))
    return sa.or_(bought, _named_by_channel(row)) if caller.by_channel else bought


def _price_lists(row: FromClause, caller: VisibilityClass) -> Predicate:
    if caller.kind in PORTAL:
        return sa.false()
    return sa.or_(row.c.channel_id.is_(None), _sold_through(row.c.channel_id, caller))


def _products(row: FromClause, caller: VisibilityClass) -> Predicate:
    return sa.true()  # the catalogue is public to whoever may call us at all


def _reservations(row: FromClause, caller: VisibilityClass) -> Predicate:
    if caller.kind in PORTAL:
        return sa.false()
    conditions: list[Predicate] = []
    if caller.by_channel:
        conditions.append(_in_channels(row.c.channel_id))
    if caller.by_location:
        # Only what lies wholly with the caller: releasing a reservation frees all of it.
        conditions += [_holds_at(row, caller, here=True), ~_holds_at(row, caller, here=False)]
    return sa.and_(sa.true(), *conditions)


def _holds_at(row: FromClause, caller: VisibilityClass, *, here: bool) -> sa.Exists:
    """Whether the reservation holds something at (or, not `here`, outside) the caller's locations."""
    line, level = ReservationLine.__table__.alias(), StockLevel.__table__.alias()
    inside = _in_locations(level.c.location_id)
    return sa.exists().where(
        line.c.reservation_id == row.c.id,
        level.c.id == line.c.stock_level_id,
        inside if here else sa.not_(inside),
    )


def _events(row: FromClause, caller: VisibilityClass) -> Predicate:
    """Events carry the ids that decide who sees them; portals see only what happened to their order."""
    if caller.kind in PORTAL:
        shown = row.c.type.in_([str(kind) for kind in sorted(CUSTOMER_EVENT_TYPES)])
        if caller.kind is PrincipalKind.GUEST:
            return sa.and_(row.c.order_id == _order(), shown)
        return sa.and_(_own(row, caller), shown)
    conditions: list[Predicate] = []
    if caller.by_channel:
        conditions.append(
            sa.or_(
                _in_channels(row.c.channel_id),
                sa.and_(row.c.channel_id.is_(None), _serves_channels(row.c.location_id)),
            )
        )
    if caller.by_location:
        conditions.append(sa.or_(_in_locations(row.c.location_id), _of_visible_order(row, caller)))
    return sa.and_(sa.true(), *conditions)


def _external_ids(row: FromClause, caller: VisibilityClass) -> Predicate:
    if caller.kind in PORTAL:
        return sa.false()
    if caller.by_channel:
        return sa.or_(row.c.channel_id.is_(None), _in_channels(row.c.channel_id))
    return sa.true()


def _discrepancies(row: FromClause, caller: VisibilityClass) -> Predicate:
    if caller.kind in PORTAL:
        return sa.false()
    if not caller.by_channel and not caller.by_location:
        return sa.true()
    return _of_visible_order(row, caller)


def _ours_alone(row: FromClause, caller: VisibilityClass) -> Predicate:
    """Keys, revocations, the audit: staff whose access is not bounded."""
    bounded = caller.by_channel or caller.by_location
    return sa.false() if caller.kind is not PrincipalKind.STAFF or bounded else sa.true()


_of_payment = _through(Payment, lambda row, parent: parent.c.id == row.c.payment_id, _of_visible_order)
_of_shipment = _through(Shipment, lambda row, parent: parent.c.id == row.c.shipment_id, _sent_from_location)

RULES: dict[str, Rule] = {
    "api_key": _ours_alone,
    "revocation": _ours_alone,
    "audit_entry": _ours_alone,
    "channel": _channels,
    "channel_location": _channel_locations,
    "external_id": _external_ids,
    "location": _locations,
    "company": _companies,
    "customer": _customers,
    "product": _products,
    "price_list": _price_lists,
    "price": _through(
        PriceList,
        lambda row, parent: parent.c.id == row.c.price_list_id,
        _price_lists,
    ),
    "stock_level": _stock,
    "stock_movement": _stock,
    "allocation": _staff_of_order,
    "backorder": _staff_of_order,
    "availability": lambda row, caller: (
        sa.true() if caller.kind in PORTAL else _sold_through(row.c.channel_id, caller)
    ),
    "reservation": _reservations,
    "reservation_line": _through(
        Reservation, lambda row, parent: parent.c.id == row.c.reservation_id, _reservations
    ),
    "orders": _orders,
    "order_line": _of_visible_order,
    "order_adjustment": _of_visible_order,
    "order_tax_line": _of_visible_order,
    "order_hold": _staff_of_order,
    "payment": _of_visible_order,
    "payment_transaction": _of_payment,
    "refund": _of_visible_order,
    "fulfillment_order": _fulfillment_orders,
    "fulfillment_order_line": _through(
        FulfillmentOrder, lambda row, parent: parent.c.id == row.c.fulfillment_order_id, _fulfillment_orders
    ),
    "shipment": _sent_from_location,
    "shipment_line": _of_shipment,
    "package": _of_shipment,
    "carrier_event": _through(Package, lambda row, parent: parent.c.id == row.c.package_id, _of_shipment),
    "returns": _returns,
    "return_line": _through(Return, lambda row, parent: parent.c.id == row.c.return_id, _returns),
    "discrepancy": _discrepancies,
    "event": _events,
    "event_log": _events,
}


def _portal_blind(row: FromClause, caller: VisibilityClass) -> Predicate:
    return sa.false() if caller.kind in PORTAL else sa.true()


def _here_only(row: FromClause, caller: VisibilityClass) -> Predicate:
    return _in_locations(row.c.location_id) if caller.by_location else sa.true()


OF_CHANNEL = frozenset({"orders", "returns"})
"""Large tables whose rows carry the channel: a partner's page is merged from its channels' pages."""

AT_LOCATION = frozenset({"fulfillment_order", "shipment"})
"""Large tables whose rows carry the location: the same for whoever is bounded to locations."""


def partition(table: str, caller: VisibilityClass) -> tuple[str, ColumnElement[Any]] | None:
    """The column that bounds what `caller` sees of `table`, with the list of values it may have.

    `column = any(list)` is no prefix that an index could be read in order by; one value after
    the other is.
    """
    if caller.kind in PORTAL:
        return None
    if caller.by_channel and table in OF_CHANNEL:
        return "channel_id", sa.bindparam("principal_channels", type_=_UUIDS)
    if caller.by_location and table in AT_LOCATION:
        return "location_id", sa.bindparam("principal_locations", type_=_UUIDS)
    return None


THROUGH_PARENT: dict[str, Rule] = {
    "order_hold": _portal_blind,
    "allocation": _portal_blind,
    "backorder": _portal_blind,
    "discrepancy": _portal_blind,
    "external_id": _external_ids,
    "stock_level": _stock,
    "stock_movement": _stock,
    "channel_location": RULES["channel_location"],
    "price": RULES["price"],
    "fulfillment_order": lambda row, caller: sa.false() if caller.kind in PORTAL else _here_only(row, caller),
    "shipment": _here_only,
    "returns": _here_only,
    "event": _events,
    "event_log": _events,
}
"""Children that need more than a visible parent; every other child needs nothing."""


def predicate(
    table: str, row: FromClause, caller: VisibilityClass, *, through_parent: bool = False
) -> Predicate:
    """The condition under which `caller` may see `row`, an alias of `table`.

    Raises LookupError for a table nobody has written a rule for.
    """
    if table not in RULES:
        raise LookupError(f"no visibility rule for table {table!r}")
    if through_parent:
        rule = THROUGH_PARENT.get(table)
        return rule(row, caller) if rule else sa.true()
    return RULES[table](row, caller)
