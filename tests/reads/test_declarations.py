"""What every field, relation, filter and sort reads, told a second time: by the rule of names, else in full below.

The oracle believes the declarations that the planner believes; this is what tells a wrong one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from graphql import GraphQLInputObjectType, get_named_type
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import ARRAY

from schema.plan.planner import Planner
from schema.plan.reading import (
    PLAN,
    Planned,
    Read,
    ReadConnection,
    ReadEmbedded,
    ReadExpression,
    ReadMany,
    ReadMoney,
    ReadOne,
    ReadOneOf,
    Row,
)
from tests.plan.test_whole_schema import make_planner

BALANCE = (
    "((this.current_total - this.credited_total) - this.received_total) "
    "+ this.refunded_total + this.charged_back_total"
)
CURSOR = (
    "(SELECT translate(encode(SUBSTRING(uuid_send(relay.epoch) FROM 1 FOR 15), 'base64'), '+/', '-_') AS translate_1 "
    "FROM relay) || translate(encode((SELECT SUBSTRING(uuid_send(relay.epoch) FROM 16) AS substring_1 FROM relay) "
    "|| int8send(this.position), 'base64'), '+/', '-_')"
)
SPAN = "CASE WHEN ({0} > 0) THEN 'DUE' WHEN ({0} < 0) THEN 'OVERPAID' ELSE 'SETTLED' END"
OF_RETURN = "FROM return_line AS return_line_1, returns AS this WHERE return_line_1.return_id = this.id"
OF_LIST = "FROM price_list AS price_list_1, price AS this WHERE price_list_1.id = this.price_list_id"
OF_ORDER_ITSELF = "that.order_id = this.id AND that.order_line_id IS NULL"
OF_CHANNEL = "that.order_id IN (SELECT orders.id FROM orders WHERE orders.channel_id = ANY (given))"
IDS = (
    "CASE WHEN (this.{0} IS NOT NULL) THEN coalesce((SELECT array_agg('{1}_' || CAST(id AS TEXT)) AS array_agg_1 "
    "FROM unnest(this.{0}) AS id), CAST('{{}}' AS TEXT[])) END"
)
KINDS = (
    "ORDER", "PAYMENT", "REFUND", "FULFILLMENT_ORDER", "SHIPMENT", "PACKAGE", "RETURN", "DISCREPANCY", "STOCK_LEVEL",
    "RESERVATION", "PRODUCT", "CUSTOMER", "COMPANY", "CHANNEL", "LOCATION",
)  # fmt: skip

FIELDS = {
    "StockLevel.available": "greatest(0, (((this.sellable - this.allocated) - this.reserved) - this.backordered) "
    "- this.safety_stock)",
    "Availability.available": "CAST(this.available AS INTEGER)",
    "Product.cost": "this.cost_amount, this.cost_currency",
    "Price.price": f"this.amount, (SELECT price_list_1.currency {OF_LIST})",
    "Order.balance": f"{BALANCE}, this.currency",
    "Order.balanceStatus": SPAN.format(BALANCE),
    "Order.adjustments": OF_ORDER_ITSELF,
    "Order.taxLines": OF_ORDER_ITSELF,
    "OrderLine.quantityUnallocated": "(((this.quantity - this.quantity_cancelled) - this.quantity_allocated) "
    "- this.quantity_backordered) - this.quantity_fulfilled",
    "OrderTaxLine.base": "this.base_amount, this.currency",
    "FulfillmentOrderLine.quantityOpen": "((this.quantity - this.quantity_shipped) - this.quantity_short) "
    "- this.quantity_cancelled",
    "Refund.forReturn": "that.id = this.return_id",
    "Return.refundAmount": f"(SELECT CAST(coalesce(sum(return_line_1.refund_amount), 0) AS BIGINT) AS coalesce_1 "
    f"{OF_RETURN}), (SELECT max(return_line_1.currency) AS max_1 {OF_RETURN})",
    "Return.timeline": "that.aggregate_id = coalesce(this.order_id, this.id) "
    "AND that.product_id IS NULL AND (that.return_id = this.id OR that.aggregate_id = this.id)",
    "OrderEvent.cursor": CURSOR,
    "StockChange.cursor": CURSOR,
    "ShipmentEvent.cursor": CURSOR,
    "ReturnEvent.cursor": CURSOR,
    "ApiKey.channels": IDS.format("channels", "chn"),
    "ApiKey.locations": IDS.format("locations", "loc"),
    "AuditEntry.entityId": "CAST(this.entity_id AS TEXT)",
    "ShipmentEvent.shipment": "that.id = CASE WHEN (this.subject_kind = 'PACKAGE') THEN (SELECT package_1.shipment_id "
    "FROM package AS package_1, event_log AS this WHERE package_1.id = this.subject_id) ELSE this.subject_id END",
    "ShipmentEvent.package": "this.subject_kind = 'PACKAGE' AND that.id = this.subject_id",
    "CustomerExport.exportedFrom": "this.updated_at",
    "OrderExport.exportedFrom": "this.updated_at",
    "StockChange.stockLevel": "that.id = this.subject_id",
}
ACTIONS = ("Order", "Payment", "Return", "FulfillmentOrder", "Shipment")
"""What is possible is the state machines' business; tests of those nouns hold `availableActions` to them."""

ORDERS_OF_ROWS = {
    "externalIds": ["system", "external_id"],
    "Channel.locations": ["rank", "location_id"],
    "Location.stockLevels": ["product_id"],
    "Product.prices": ["price_list_id", "minimum_quantity"],
    "Product.stockLevels": ["location_id"],
    "PriceList.prices": ["product_id", "minimum_quantity"],
    "Order.lines": ["line_number"],
    "Customer.orders": ["placed_at", "the last first"],
    "StockLevel.movements": ["the last first"],
    "timeline": ["version"],
    "Package.carrierEvents": ["occurred_at", "id"],
}
"""Others: as they were made, which is by id."""

FILTERS = {
    "apiKeys.revoked": "(that.revoked_at IS NOT NULL) = given",
    "fulfillmentOrders.channels": OF_CHANNEL,
    "shipments.channels": OF_CHANNEL,
    "shipments.trackingNumber": "that.id IN (SELECT package.shipment_id FROM package "
    "WHERE package.tracking_number = given)",
    "stockLevels.skus": "that.product_id IN (SELECT product.id FROM product WHERE product.sku = ANY (given))",
}
TOLD_ELSEWHERE = {"auditEntries.entities", "auditEntries.occurredFrom", "auditEntries.occurredBefore"}
"""Ids of any type, and moments that bound ids too: the tests of the audit tell what they find."""
EXTERNAL = (
    "that.{column} IN (SELECT external_id_1.entity_id FROM external_id AS external_id_1 "
    "WHERE external_id_1.entity_kind = '{kind}' AND external_id_1.system = system "
    "AND external_id_1.external_id = id)"
)
SORTS = {"orders.TOTAL": ["current_total"], "stockLevels.CREATED": [], "revocations.": ["created_at"]}

NAMES = {"metadata": "metadata_", "currency_code": "currency"}
"""Columns that are called otherwise everywhere: `metadata` is SQLAlchemy's, a currency's code is stored."""
SINGULAR = {"orders": "order", "returns": "return"}


@pytest.fixture(scope="module")
def planner() -> Planner:
    return make_planner()


def snake(name: str) -> str:
    return re.sub(r"[A-Z]|(?<=[a-z])[0-9]+", lambda found: "_" + found[0].lower(), name)


def text(expression: Any) -> str:
    compiled = expression.compile(dialect=postgresql.dialect(), compile_kwargs={"literal_binds": True})  # type: ignore[no-untyped-call] # SQLAlchemy's dialects are untyped
    return " ".join(str(compiled).split())


def rows(planner: Planner, planned: Planned, read: Read) -> tuple[Row, Row, Planned]:
    """`this`, and `that` which it is related to."""
    target = planner.catalog.types[getattr(read, "target", planned.name)][1]
    return planned.row(planned.table.alias("this")), target.row(target.table.alias("that")), target


def fields(planner: Planner) -> Iterator[tuple[str, str, Planned, Read]]:
    for type_, planned in planner.catalog.types.values():
        for name, field in type_.fields.items():
            read = planner.catalog.read(field)
            if read is not None:
                yield type_.name, name, planned, read


def by_name(name: str, planned: Planned, read: Read) -> str:
    """What a field of this name reads unless it is told in full."""
    column = NAMES.get(snake(name), snake(name))
    match read:
        case ReadMoney():
            return f"this.{column}, this.currency"
        case ReadOne():
            return f"that.id = this.{column}_id"
        case ReadMany() | ReadConnection():
            parent = (
                "entity" if name == "externalIds" else SINGULAR.get(planned.table_name, planned.table_name)
            )
            return f"that.{parent}_id = this.id"
    return f"this.{column}"


def told(planner: Planner, planned: Planned, read: Read) -> str:
    """What the declaration says that the field reads."""
    this, that, _ = rows(planner, planned, read)
    match read:
        case ReadExpression() | ReadEmbedded():
            return text(read.of(this))
        case ReadMoney():
            return f"{text(read.amount(this))}, {text(read.currency(this))}"
        case ReadOne() | ReadMany() | ReadConnection():
            assert read.on is not None
            return text(read.on(this, that))
    raise TypeError(read)


def test_every_field_and_relation_reads_what_its_name_says(planner: Planner) -> None:
    counted = 0
    for type_name, name, planned, read in fields(planner):
        place = f"{type_name}.{name}"
        if name == "id" or (name == "availableActions" and type_name in ACTIONS):
            continue
        if place in ("CustomerExport.document", "OrderExport.document"):
            continue  # put together from many tables: see tests/access/test_privacy.py
        if isinstance(read, ReadOneOf):
            this = rows(planner, planned, read)[0]
            assert (text(read.kind(this)), text(read.id(this))) == ("this.subject_kind", "this.subject_id"), (
                place
            )
            assert set(read.targets) == set(KINDS) or place == "Discrepancy.subject", place
            assert all(snake(target)[1:].upper() == kind for kind, target in read.targets.items()), place
        else:
            assert told(planner, planned, read) == FIELDS.get(place, by_name(name, planned, read)), place
        counted += 1
    assert counted > 300


def test_every_relation_reaches_the_type_it_shows_in_the_order_told(planner: Planner) -> None:
    for type_name, name, planned, read in fields(planner):
        if not isinstance(read, ReadMany | ReadConnection):
            continue
        that = rows(planner, planned, read)[1]
        if isinstance(read, ReadMany):
            columns = [column.key for column in read.order_by(that)]
        else:
            assert list(read.sort.keys) == [read.sort.default], "nested connections offer one sort"
            columns = [column.key for column in read.sort.keys[read.sort.default].columns(that)]
            columns += ["the last first"] if read.sort.descending else []
        place = f"{type_name}.{name}"
        own = [] if isinstance(read, ReadConnection) else ["id"]
        assert columns == ORDERS_OF_ROWS.get(place, ORDERS_OF_ROWS.get(name, own)), place


def filter_by_name(name: str, planned: Planned, *, listed: bool, node: bool) -> str:
    if name.endswith("xternalId"):
        of_order = name == "orderExternalId"
        table = SINGULAR.get(planned.table_name, planned.table_name)
        kind = "ORDER" if of_order else table.upper()
        return EXTERNAL.format(column="order_id" if of_order else "id", kind=kind)
    column = snake(name)
    if column.endswith(("_from", "_before")):
        stem, _, which = column.rpartition("_")
        return f"that.{stem}_at {'>=' if which == 'from' else '<'} given"
    if node:
        column = "id" if column == "ids" else column.removesuffix("s").replace("companie", "company") + "_id"
    elif listed and column not in planned.table.c:
        column = column.removesuffix("s")
    return f"that.{column} = ANY (given)" if listed else f"that.{column} = given"


def test_every_filter_and_sort_of_a_root_page_reads_what_its_name_says(planner: Planner) -> None:
    query = planner.catalog.schema.query_type
    assert query is not None
    for root, field in query.fields.items():
        read = planner.catalog.read(field)
        if not isinstance(read, ReadConnection):
            continue
        planned = planner.catalog.types[read.target][1]
        that = planned.row(planned.table.alias("that"))
        for sort, key in read.sort.keys.items():
            columns = [column.key for column in key.columns(that)]
            assert columns == SORTS.get(f"{root}.{sort}", [sort.lower()] if sort else []), (root, sort)
        filter_type = get_named_type(field.args["filter"].type) if "filter" in field.args else None
        if not isinstance(filter_type, GraphQLInputObjectType):
            continue
        for name, member in filter_type.fields.items():
            where = member.extensions["strawberry-definition"].metadata[PLAN]
            listed = str(member.type).startswith("[")
            given: Any = sa.literal_column("given", ARRAY(sa.Text()) if listed else None)
            if name.endswith("xternalId"):
                given = SimpleNamespace(
                    system=sa.literal_column("system"), id=sa.literal_column("id"), channel_id=None
                )
            said = text(where.condition(that, given))
            if f"{root}.{name}" in TOLD_ELSEWHERE:
                continue
            if where.candidates is not None:
                assert said.startswith("that.search @@ "), (root, name)
                continue
            by_rule = filter_by_name(name, planned, listed=listed, node=where.node is not None)
            assert said == FILTERS.get(f"{root}.{name}", by_rule), (root, name)
            assert where.each is None or listed, (root, name)
