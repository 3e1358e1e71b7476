"""Root fields of stock: levels, availability, reservations. Receipts and adjustments are in stock_intake."""

from __future__ import annotations

import sqlalchemy as sa
import strawberry

from db.products import Product as ProductRow
from domain.access import Scope
from domain.ids import Prefix, parse_id
from domain.reservations import ReservationOwner, ReservationStatus
from resolvers.context import write
from schema.plan import (
    Connection,
    GlobalId,
    Info,
    UserError,
    among,
    by_id,
    filter_input,
    mutation,
    no_errors,
    query_connection,
    query_many,
    query_one,
    ref,
    value_type,
    where,
)
from schema.stock import Availability, Reservation, StockLevel
from services.reservations import (
    ReleaseReservation,
    ReserveLine,
    ReserveStock,
    release_reservation,
    reserve_stock,
)


@filter_input(description="Which stock levels: each field that is given must hold.")
class StockLevelFilter:
    products: list[strawberry.ID] | None = among(
        lambda level: level.product_id, "Of one of these products.", node="prd"
    )
    skus: list[str] | None = where(
        lambda level, v: level.product_id.in_(
            sa.select(ProductRow.__table__.c.id).where(ProductRow.__table__.c.sku == sa.any_(v))
        ),
        "Of one of these SKUs.",
    )
    locations: list[strawberry.ID] | None = among(
        lambda level: level.location_id, "At one of these locations.", node="loc"
    )


@filter_input(description="Which reservations: each field that is given must hold.")
class ReservationFilter:
    status: list[ReservationStatus] | None = among(
        lambda reservation: reservation.status, "In one of these statuses."
    )
    channels: list[strawberry.ID] | None = among(
        lambda reservation: reservation.channel_id, "Of one of these channels.", node="chn"
    )


class StockQueries:
    stock_level: StockLevel | None = query_one(
        StockLevel, by=by_id(), scope=Scope.STOCK_READ, description="One stock level by id."
    )
    stock_levels: Connection[StockLevel] = query_connection(
        StockLevel,
        scope=Scope.STOCK_READ,
        filter=StockLevelFilter,
        order_by=lambda level: (),
        description=(
            "What lies where, and what of it is promised; the oldest first. What changed since is told by "
            "`stockChanges` and `events`, without gaps."
        ),
    )
    availability: list[Availability] = query_many(
        Availability,
        scope=Scope.CATALOG_READ,
        arguments={"skus": list[str], "channel": GlobalId("chn")},
        where=lambda row, arguments: sa.and_(
            row.sku == sa.any_(arguments.skus), row.channel_id == arguments.channel
        ),
        order_by=lambda row: (row.sku,),
        description="How many units of each SKU an order of this channel would be promised now.",
    )
    reservation: Reservation | None = query_one(
        Reservation, by=by_id(), scope=Scope.STOCK_READ, description="One reservation by id."
    )
    reservations: Connection[Reservation] = query_connection(
        Reservation,
        scope=Scope.STOCK_READ,
        filter=ReservationFilter,
        order_by=lambda reservation: (),
        descending=True,
        description="Reservations, the newest first.",
    )


@strawberry.input(description="Units of a SKU to hold.")
class StockReserveLineInput:
    sku: str
    quantity: int = strawberry.field(description="Units, 1 to 1,000,000.")


@strawberry.input(description="Stock to hold for a checkout or a quote.")
class StockReserveInput:
    channel_id: strawberry.ID
    lines: list[StockReserveLineInput]
    minutes: int = strawberry.field(description="How long, from now: 1 to 43,200.")
    owner: ReservationOwner = ReservationOwner.CHECKOUT
    reference: str | None = strawberry.field(default=None, description="What you call the checkout or quote.")

    def to_command(self) -> ReserveStock:
        return ReserveStock(
            channel_id=parse_id(self.channel_id, Prefix.CHANNEL, field=("channelId",)),
            lines=tuple(ReserveLine(sku=line.sku, quantity=line.quantity) for line in self.lines),
            minutes=self.minutes,
            owner=self.owner,
            reference=self.reference,
        )


@value_type(description="The reservation, or why not.")
class StockReservePayload:
    reservation: Reservation | None
    user_errors: list[UserError] = no_errors()


@value_type(description="The reservation, or why not.")
class StockReleasePayload:
    reservation: Reservation | None
    user_errors: list[UserError] = no_errors()


@mutation(
    scope=Scope.STOCK_WRITE,
    description=(
        "Holds stock until `minutes` have passed, `orderPlace` takes it over with `reservationId`, or it is "
        "released. All of it or none: InsufficientStock says of which SKU there is too little."
    ),
)
async def stock_reserve(info: Info, input: StockReserveInput, idempotency_key: str) -> StockReservePayload:
    reservation_id = await write(info, reserve_stock, input.to_command(), key=idempotency_key)
    return StockReservePayload(reservation=ref(Reservation, reservation_id))


@mutation(scope=Scope.STOCK_WRITE, description="Gives back what a reservation holds.")
async def stock_release(
    info: Info, reservation_id: strawberry.ID, idempotency_key: str | None = None
) -> StockReleasePayload:
    command = ReleaseReservation(
        reservation_id=parse_id(reservation_id, Prefix.RESERVATION, field=("reservationId",))
    )
    released = await write(info, release_reservation, command, key=idempotency_key)
    return StockReleasePayload(reservation=ref(Reservation, released))
