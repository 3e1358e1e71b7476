"""Steps of an order's life on the warehouse's side, for tests to string together."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import sqlalchemy as sa

from db.base import new_id
from db.discrepancies import Discrepancy
from db.fulfillment import FulfillmentOrder, FulfillmentOrderLine
from db.payments import PaymentTransaction
from db.shipments import Package, Shipment
from domain.access import ALL_SCOPES, Principal, PrincipalKind
from domain.fulfillment_commands import AcceptFulfillmentOrder
from domain.order_commands import PaymentIntent
from domain.payments import PaymentMethod
from domain.shipment_commands import CreateShipment, DispatchShipment, Parcel, ShipUnits
from services.dispatches import dispatch_shipment
from services.fulfillment import accept_fulfillment_order
from services.shipments import create_shipment
from services.transactions import Outcome, RecordResult, record_result
from tests.world import World

CARD = PaymentIntent(method=PaymentMethod.CARD, token="approve")


def warehouse(world: World, location: str = "main") -> Principal:
    """A partner that sees one location's work and nothing else."""
    return Principal(
        kind=PrincipalKind.PARTNER,
        account=f"warehouse:{location}",
        scopes=ALL_SCOPES,
        locations=(world.locations[location],),
    )


async def fulfillment_orders(world: World, order_id: UUID) -> list[sa.Row[Any]]:
    """The order's fulfillment orders, the oldest first."""
    return await world.all(
        sa.select(FulfillmentOrder.__table__)
        .where(FulfillmentOrder.order_id == order_id)
        .order_by(FulfillmentOrder.id)
    )


async def fulfillment_lines(world: World, fulfillment_order_id: UUID) -> list[sa.Row[Any]]:
    return await world.all(
        sa.select(FulfillmentOrderLine.__table__)
        .where(FulfillmentOrderLine.fulfillment_order_id == fulfillment_order_id)
        .order_by(FulfillmentOrderLine.id)
    )


async def accepted(world: World, order_id: UUID, location: str = "main") -> UUID:
    """The id of the order's newest fulfillment order, accepted by its location."""
    fulfillment_order = (await fulfillment_orders(world, order_id))[-1]
    await world.run(
        accept_fulfillment_order,
        AcceptFulfillmentOrder(fulfillment_order_id=fulfillment_order.id),
        warehouse(world, location),
    )
    return UUID(str(fulfillment_order.id))


async def ship(
    world: World,
    fulfillment_order_id: UUID,
    *quantities: int,
    location: str = "main",
    tracking: str | None = "T1",
) -> UUID | None:
    """Dispatch these quantities of its lines in one call (all that is left, when none are named)."""
    lines = await fulfillment_lines(world, fulfillment_order_id)
    shipment_id, _ = await world.run(
        dispatch_shipment,
        DispatchShipment(
            fulfillment_order_id=fulfillment_order_id,
            lines=tuple(
                ShipUnits(fulfillment_order_line_id=line.id, quantity=quantity)
                for line, quantity in zip(lines, quantities, strict=False)
                if quantity
            ),
            carrier="DHL",
            packages=(Parcel(tracking_number=tracking),) if tracking else (),
        ),
        warehouse(world, location),
    )
    assert shipment_id is None or isinstance(shipment_id, UUID)
    return shipment_id


async def begun(world: World, fulfillment_order_id: UUID, *quantities: int) -> UUID:
    """A PENDING shipment of these quantities of its lines (of everything, when none are named)."""
    lines = await fulfillment_lines(world, fulfillment_order_id)
    shipment_id: UUID = await world.run(
        create_shipment,
        CreateShipment(
            fulfillment_order_id=fulfillment_order_id,
            lines=tuple(
                ShipUnits(fulfillment_order_line_id=line.id, quantity=quantity)
                for line, quantity in zip(lines, quantities, strict=False)
                if quantity
            ),
        ),
        warehouse(world),
    )
    return shipment_id


async def shipments_of(world: World, order_id: UUID) -> list[sa.Row[Any]]:
    return await world.all(
        sa.select(Shipment.__table__).where(Shipment.order_id == order_id).order_by(Shipment.id)
    )


async def packages_of(world: World, shipment_id: UUID | None) -> list[sa.Row[Any]]:
    return await world.all(
        sa.select(Package.__table__).where(Package.shipment_id == shipment_id).order_by(Package.id)
    )


async def discrepancies_of(world: World, order_id: UUID) -> list[str]:
    """The kinds of the order's discrepancies, the oldest first."""
    rows = await world.all(
        sa.select(Discrepancy.kind).where(Discrepancy.order_id == order_id).order_by(Discrepancy.id)
    )
    return [str(row.kind) for row in rows]


async def movements(world: World, sku: str, location: str = "main") -> list[tuple[str, str, int]]:
    """The ledger of one level: kind, bucket, units."""
    level = await world.level(sku, location)
    rows = await world.all(
        sa.text("select kind, bucket, quantity from stock_movement where stock_level_id = :id order by id")
        .bindparams(id=level.id)
        .columns(kind=sa.Text(), bucket=sa.Text(), quantity=sa.Integer())  # type: ignore[arg-type] # a text select
    )
    return [(row.kind, row.bucket, row.quantity) for row in rows]


async def transactions(world: World, order_id: UUID) -> list[tuple[str, str, int]]:
    rows = await world.all(
        sa.select(PaymentTransaction.__table__)
        .where(PaymentTransaction.order_id == order_id)
        .order_by(PaymentTransaction.id)
    )
    return [(str(row.kind), str(row.status), row.amount) for row in rows]


async def settle_payments(world: World, order_id: UUID) -> None:
    """Every open request to a provider succeeds, as a job would report it."""
    rows = await world.all(
        sa.select(PaymentTransaction.id)
        .where(PaymentTransaction.order_id == order_id, PaymentTransaction.status == "PENDING")
        .order_by(PaymentTransaction.id)
    )
    for row in rows:
        await world.run(record_result, RecordResult(transaction_id=row.id, outcome=Outcome.SUCCEEDED))


async def backlog(world: World, sku: str, location: str = "main") -> tuple[int, int, int]:
    """Sellable, allocated and backordered units of a level."""
    level = await world.level(sku, location)
    return level.sellable, level.allocated, level.backordered


def unknown_id() -> UUID:
    return new_id()
