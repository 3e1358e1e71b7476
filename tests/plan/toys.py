"""A small shop to plan against: tables, types and root fields that have nothing to do with the product."""

from __future__ import annotations

import sys
from datetime import datetime
from enum import StrEnum
from uuid import UUID

import sqlalchemy as sa
import strawberry
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from strawberry.scalars import JSON
from strawberry.schema.config import StrawberryConfig

from domain.access import Principal, PrincipalKind, Scope, VisibilityClass
from domain.errors import InsufficientStock, InvalidInput, NotFound, Refused
from schema.plan import (
    SCALARS,
    BigInt,
    Connection,
    GlobalId,
    Info,
    Money,
    Node,
    NodeQueries,
    SortDirection,
    UserError,
    among,
    by,
    by_id,
    column,
    connection,
    embedded,
    error_type,
    expression,
    filter_input,
    many,
    money,
    mutation,
    one,
    one_of,
    planned,
    query_connection,
    query_expression,
    query_many,
    query_one,
    ref,
    root,
    sort_enum,
    subscription,
    value_type,
    where,
)


class Base(DeclarativeBase):
    type_annotation_map = {datetime: TIMESTAMP(timezone=True), dict: JSONB(), str: sa.Text()}  # noqa: RUF012


class Status(StrEnum):
    OPEN = "OPEN"
    SHIPPED = "SHIPPED"
    CANCELLED = "CANCELLED"


class PersonRow(Base):
    __tablename__ = "person"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    email: Mapped[str | None]


class OrderRow(Base):
    __tablename__ = "toy_order"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    number: Mapped[str]
    channel: Mapped[str]
    status: Mapped[Status] = mapped_column(sa.Enum(Status, native_enum=False, length=40))
    person_id: Mapped[UUID | None]
    total: Mapped[int] = mapped_column(sa.BigInteger())
    currency: Mapped[str]
    address: Mapped[dict] = mapped_column(JSONB())
    tags: Mapped[list[str]] = mapped_column(ARRAY(sa.Text()))
    note: Mapped[str | None]
    metadata_: Mapped[dict] = mapped_column("metadata", JSONB())
    placed_at: Mapped[datetime]
    shipped_at: Mapped[datetime | None]

    __table_args__ = (
        sa.Index("toy_order_status", "status", "placed_at", "id"),
        sa.Index("toy_order_person", "person_id", "status", "total", "id"),
    )


class LineRow(Base):
    __tablename__ = "toy_line"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    order_id: Mapped[UUID]
    line_number: Mapped[int]
    sku: Mapped[str]
    quantity: Mapped[int]
    cancelled: Mapped[int]


class EventRow(Base):
    __tablename__ = "toy_event"
    position: Mapped[int] = mapped_column(sa.BigInteger(), primary_key=True)
    order_id: Mapped[UUID]
    type: Mapped[str]
    subject_kind: Mapped[str]
    subject_id: Mapped[UUID]


@value_type
class Address:
    line1: str | None
    city: str | None
    floor: int | None


@planned(PersonRow, node="per", scope=Scope.CUSTOMERS_READ)
class Person(Node):
    name: str = column(PersonRow.name, "The name.")
    email: str | None = column(PersonRow.email, scope=Scope.CUSTOMERS_CONTACT)
    orders: Connection[Order] = connection(
        "Order", lambda person, order: order.person_id == person.id, order_by=lambda order: (order.placed_at,)
    )


@planned(LineRow, node="lin", scope=Scope.ORDERS_READ)
class Line(Node):
    line_number: int = column(LineRow.line_number)
    sku: str = column(LineRow.sku)
    quantity: int = column(LineRow.quantity)
    left: int = expression(lambda line: line.quantity - line.cancelled, "Units not cancelled.")
    order: Order = one("Order", lambda line, order: order.id == line.order_id, visible_with_parent=True)


@planned(EventRow, key="position")
class Event:
    position: BigInt = column(EventRow.position)
    type: str = column(EventRow.type)
    order: Order | None = one("Order", lambda event, order: order.id == event.order_id)
    subject: Node | None = one_of(
        EventRow.subject_kind, {"ORDER": "Order", "LINE": "Line"}, EventRow.subject_id
    )


@filter_input
class EventFilter:
    type: list[str] | None = where(lambda event, value: event.type == sa.any_(value))


@planned(OrderRow, node="ord", description="A toy order.")
class Order(Node):
    number: str = column(OrderRow.number, "The number on the slip.")
    status: Status = column(OrderRow.status)
    placed_at: datetime = column(OrderRow.placed_at)
    shipped_at: datetime | None = column(OrderRow.shipped_at)
    total: Money = money(OrderRow.total, OrderRow.currency)
    note: str | None = column(OrderRow.note)
    broken: str = column(OrderRow.note, "Non-null by mistake.")
    failing: int = expression(lambda order: sa.func.length(order.number) / (order.total - order.total))
    tags: list[str] = column(OrderRow.tags)
    metadata: JSON = column(OrderRow.metadata_)
    address: Address | None = embedded(OrderRow.address)
    statuses: list[Status] = expression(lambda order: sa.literal(["OPEN", "SHIPPED"], ARRAY(sa.Text())))
    person: Person | None = one("Person", lambda order, person: person.id == order.person_id)
    lines: list[Line] = many(
        "Line", lambda order, line: line.order_id == order.id, order_by=lambda line: (line.line_number,)
    )
    events: Connection[Event] = connection(
        "Event",
        lambda order, event: event.order_id == order.id,
        order_by=lambda event: (event.position,),
        filter=EventFilter,
    )


@planned(
    sa.select(LineRow.sku, sa.func.sum(LineRow.quantity).label("sold"))
    .group_by(LineRow.sku)
    .subquery("sold"),
    key="sku",
)
class Sold:
    sku: str = column(lambda sold: sold.sku)
    sold: int = expression(lambda sold: sold.sold)


@strawberry.input
class Period:
    since: datetime | None = strawberry.UNSET
    until: datetime | None = strawberry.UNSET


@filter_input
class OrderFilter:
    status: list[Status] | None = among(lambda order: order.status)
    channel: str | None = where(lambda order, value: order.channel == value)
    person_id: strawberry.ID | None = where(lambda order, value: order.person_id == value, node="per")
    ids: list[strawberry.ID] | None = among(lambda order: order.id, node="ord")
    people: list[strawberry.ID] | None = among(lambda order: order.person_id, node="per")
    placed: Period | None = where(
        lambda order, value: sa.and_(
            sa.true(),
            *([order.placed_at >= value.since] if value.since is not None else []),
            *([order.placed_at < value.until] if value.until is not None else []),
        )
    )
    search: str | None = where(lambda order, value: order.number.ilike(value + "%"), candidates=12)


OrderSort = sort_enum(
    "OrderSort",
    PLACED_AT=lambda order: (order.placed_at,),
    NUMBER=lambda order: (order.number,),
    TOTAL=lambda order: (order.total,),
)


class OrderQueries:
    order: Order | None = query_one(
        Order,
        scope=Scope.ORDERS_READ,
        by=(
            by_id(),
            by(
                lambda order, number, channel: sa.and_(order.number == number, order.channel == channel),
                number=str,
                channel=str,
            ),
        ),
    )
    orders: Connection[Order] = query_connection(
        Order,
        scope=Scope.ORDERS_READ,
        filter=OrderFilter,
        sort=OrderSort,
        default_sort=("PLACED_AT", SortDirection.DESC),
    )
    sold: list[Sold] = query_many(
        Sold,
        scope=Scope.STOCK_READ,
        arguments={"skus": list[str], "order_id": GlobalId("ord")},
        source=lambda arguments: (
            sa.select(LineRow.sku, sa.func.sum(LineRow.quantity).label("sold"))
            .where(LineRow.sku == sa.any_(arguments.skus), LineRow.order_id == arguments.order_id)
            .group_by(LineRow.sku)
        ),
        order_by=lambda sold: (sold.sku,),
        visible=False,
    )
    head: str = query_expression(
        lambda: sa.select(
            sa.cast(sa.func.coalesce(sa.func.max(EventRow.position), 0), sa.Text())
        ).scalar_subquery(),
        scope=Scope.EVENTS_READ,
    )
    division: int | None = query_expression(
        lambda: sa.literal_column("1 / (select count(*) - count(*) from toy_order)"), scope=Scope.EVENTS_READ
    )


InsufficientStockError = error_type(InsufficientStock)
InvalidInputError = error_type(InvalidInput)
NotFoundError = error_type(NotFound)


@strawberry.input
class OrderPlaceInput:
    number: str
    quantities: list[int]
    note: str | None = None


@value_type
class OrderPlacePayload:
    order: Order | None
    user_errors: list[UserError]


@value_type
class ItemResult:
    index: int
    order: Order | None
    user_errors: list[UserError]


@value_type
class BulkPayload:
    results: list[ItemResult]
    user_errors: list[UserError]


@mutation(scope=Scope.ORDERS_WRITE, description="Place an order.")
async def order_place(
    info: Info, input: OrderPlaceInput, idempotency_key: str | None = None
) -> OrderPlacePayload:
    order_id = await info.context.place(input.number, input.quantities, input.note)
    return OrderPlacePayload(order=ref(Order, order_id))


@mutation(scope=Scope.ORDERS_WRITE)
async def orders_look(info: Info, ids: list[strawberry.ID]) -> BulkPayload:
    """Look at several."""
    results = []
    for index, given in enumerate(ids):
        if not given.startswith("ord_"):
            error = NotFound(message="No such order.", field=("ids", str(index)), id=given)
            results.append(ItemResult(index=index, user_errors=[error]))
        else:
            results.append(ItemResult(index=index, order=ref(Order, UUID(given[4:]))))
    return BulkPayload(results=results)


@mutation(scope=Scope.ORDERS_WRITE)
async def order_refuse(info: Info) -> OrderPlacePayload:
    """Always refused."""
    raise Refused(InsufficientStock(message="Too few.", field=("input",), sku="A", requested=3, available=1))


@mutation(scope=Scope.ORDERS_WRITE)
async def order_explode(info: Info) -> OrderPlacePayload:
    """A bug."""
    raise RuntimeError("secret detail")


@subscription(Event, scope=Scope.EVENTS_READ, description="Events of an order.")
def order_events(info: Info, order_id: strawberry.ID, after: str | None = None) -> object:
    return {"order_id": order_id, "after": after}


def make_schema() -> strawberry.Schema:

    here = sys.modules[__name__]
    mutations = {"order_place", "orders_look", "order_refuse", "order_explode"}

    def module(names: set[str]) -> type:
        return type("Part", (), {name: getattr(here, name) for name in names})

    return strawberry.Schema(
        query=root("Query", OrderQueries, NodeQueries),
        mutation=root("Mutation", module(mutations)),
        subscription=root("Subscription", module({"order_events"})),
        types=[InsufficientStockError, InvalidInputError, NotFoundError, Person, Line, Event],
        config=StrawberryConfig(scalar_map=SCALARS),
    )


def predicate(
    table: str, row: sa.FromClause, caller: VisibilityClass, *, through_parent: bool = False
) -> sa.ColumnElement[bool]:
    """Staff see all, partners the orders of the web channel, a guest one order; lines go with their order."""
    if table not in ("person", "toy_order", "toy_line", "toy_event"):
        raise LookupError(table)
    if through_parent or caller.kind is PrincipalKind.STAFF:
        return sa.true()
    if caller.kind is PrincipalKind.GUEST:
        column = row.c.id if table == "toy_order" else row.c.get("order_id")
        return sa.false() if column is None else column == sa.bindparam("principal_order", type_=sa.Uuid())
    if table == "toy_order":
        return row.c.channel == "web"
    order = OrderRow.__table__.alias()
    key = row.c.get("order_id")
    return sa.true() if key is None else sa.exists().where(order.c.id == key, order.c.channel == "web")


def values(principal: Principal) -> dict[str, object]:
    return {"principal_order": principal.order_id}
