"""Carriers' reports through the service, in every order, twice and too early."""

from __future__ import annotations

import asyncio
import itertools
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from db.discrepancies import Discrepancy
from db.shipments import CarrierEvent, Package, Shipment
from domain.access import ALL_SCOPES, Principal, PrincipalKind
from domain.errors import InvalidInput, NotFound, Refused
from domain.shipment_commands import (
    CarrierEventReport,
    CreateShipment,
    DispatchShipment,
    Parcel,
    RecordCarrierEvents,
)
from domain.shipments import CarrierEventKind
from services.deliveries import record_carrier_events
from services.discrepancies import ResolveDiscrepancy, resolve_discrepancy
from services.dispatches import dispatch_shipment
from services.outcomes import ItemOutcome
from services.shipments import create_shipment
from tests.fulfillment.steps import (
    accepted,
    discrepancies_of,
    packages_of,
    shipments_of,
    unknown_id,
    warehouse,
)
from tests.invariants import assert_invariants
from tests.world import World, make_world

CARRIER = Principal(kind=PrincipalKind.PARTNER, account="carrier:dhl", scopes=ALL_SCOPES)
START = datetime.now(UTC).replace(microsecond=0) - timedelta(days=2)


def scan(
    event_id: str, kind: CarrierEventKind, hours: int = 0, *, tracking: str = "T1", carrier: str = "DHL"
) -> CarrierEventReport:
    return CarrierEventReport(
        partner_event_id=event_id,
        kind=kind,
        occurred_at=START + timedelta(hours=hours),
        tracking_number=tracking,
        carrier=carrier,
    )


HISTORY = (
    scan("1", CarrierEventKind.PICKED_UP, 1),
    scan("2", CarrierEventKind.OUT_FOR_DELIVERY, 20),
    scan("3", CarrierEventKind.ATTEMPTED, 22),
    scan("4", CarrierEventKind.DELIVERED, 30),
)


async def report(world: World, *events: CarrierEventReport) -> tuple[ItemOutcome, ...]:
    outcomes: tuple[ItemOutcome, ...] = await world.run(
        record_carrier_events, RecordCarrierEvents(events=events), CARRIER
    )
    return outcomes


async def shipped(world: World, *trackings: str) -> tuple[UUID, UUID]:
    """An order of two units that left in parcels with these numbers: its id, and the shipment's."""
    order_id = await world.place(("a", 2))
    fulfillment_order_id = await accepted(world, order_id)
    shipment_id, _ = await world.run(
        dispatch_shipment,
        DispatchShipment(
            fulfillment_order_id=fulfillment_order_id,
            carrier="DHL",
            packages=tuple(Parcel(tracking_number=tracking) for tracking in trackings),
        ),
        warehouse(world),
    )
    return order_id, shipment_id


async def test_delivered_completes_the_order(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 10})
    order_id, shipment_id = await shipped(world, "T1")
    outcomes = await report(world, *HISTORY)
    assert all(outcome.id is not None and not outcome.errors for outcome in outcomes)
    (shipment,) = await shipments_of(world, order_id)
    assert (shipment.delivery_status, shipment.delivered_at) == ("DELIVERED", START + timedelta(hours=30))
    (package,) = await packages_of(world, shipment_id)
    assert (package.delivery_status, package.delivered_at) == ("DELIVERED", START + timedelta(hours=30))
    assert (await world.order(order_id)).status == "COMPLETED"
    assert await discrepancies_of(world, order_id) == []
    await assert_invariants(engine)


async def test_every_order_of_arrival_ends_the_same(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 100})
    for number, arrival in enumerate(itertools.permutations(HISTORY)):
        order_id, _ = await shipped(world, f"P{number}")
        renamed = [
            scan(event.partner_event_id, event.kind, int((event.occurred_at - START).total_seconds()) // 3600,
                 tracking=f"P{number}")
            for event in arrival
        ]  # fmt: skip
        await report(world, *renamed[:2])
        await report(world, *renamed[1:])  # one of them twice
        (shipment,) = await shipments_of(world, order_id)
        assert (shipment.delivery_status, shipment.delivered_at) == ("DELIVERED", START + timedelta(hours=30))
        assert (await world.order(order_id)).status == "COMPLETED"
        assert await discrepancies_of(world, order_id) == []
    kept = await world.one(sa.select(sa.func.count()).select_from(CarrierEvent))
    assert kept[0] == 24 * 4
    await assert_invariants(engine)


async def test_a_report_sent_twice_is_kept_once_and_answered_alike(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 10})
    order_id, _ = await shipped(world, "T1")
    first = await report(world, HISTORY[0], HISTORY[0])
    before = await world.event_types(order_id)
    assert await report(world, HISTORY[0]) == first[:1]
    assert first[0] == first[1]
    assert await world.event_types(order_id) == before
    await assert_invariants(engine)


@pytest.mark.parametrize("arrival", [(0, 1), (1, 0)])
async def test_one_id_with_two_contents_ends_the_same_and_is_told(
    engine: AsyncEngine, arrival: tuple[int, int]
) -> None:
    world = await make_world(engine, {"a": 10})
    order_id, _ = await shipped(world, "T1")
    contents = (scan("9", CarrierEventKind.DELAYED, 1), scan("9", CarrierEventKind.OUT_FOR_DELIVERY, 2))
    for index in arrival:
        await report(world, contents[index])
    row = await world.one(sa.select(CarrierEvent.__table__))
    assert (row.kind, row.occurred_at) == ("OUT_FOR_DELIVERY", START + timedelta(hours=2))
    assert (await shipments_of(world, order_id))[0].delivery_status == "OUT_FOR_DELIVERY"
    assert await discrepancies_of(world, order_id) == ["CONFLICTING_REPORT"]
    await assert_invariants(engine)


async def test_a_shipment_is_delivered_with_its_last_parcel(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 10})
    order_id, _ = await shipped(world, "T1", "T2")
    await report(world, scan("1", CarrierEventKind.DELIVERED, 5, tracking="T1"))
    (shipment,) = await shipments_of(world, order_id)
    assert (shipment.delivery_status, shipment.delivered_at) == ("IN_TRANSIT", None)
    assert (await world.order(order_id)).status == "PROCESSING"
    await report(world, scan("1", CarrierEventKind.DELIVERED, 9, tracking="T2"))
    (shipment,) = await shipments_of(world, order_id)
    assert (shipment.delivery_status, shipment.delivered_at) == ("DELIVERED", START + timedelta(hours=9))
    assert (await world.order(order_id)).status == "COMPLETED"
    await assert_invariants(engine)


async def test_delivered_before_it_left_is_kept_told_and_counts_once_it_has_left(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 10})
    order_id = await world.place(("a", 2))
    shipment_id = await world.run(
        create_shipment,
        CreateShipment(
            fulfillment_order_id=await accepted(world, order_id),
            carrier="DHL",
            packages=(Parcel(tracking_number="T1"),),
        ),
        warehouse(world),
    )
    await report(world, *HISTORY)
    (shipment,) = await shipments_of(world, order_id)
    assert (shipment.status, shipment.delivery_status) == ("PENDING", None)
    assert (await world.order(order_id)).status == "PROCESSING"
    assert await discrepancies_of(world, order_id) == ["UNEXPECTED_DELIVERY_SCAN"] * 3
    await world.run(dispatch_shipment, DispatchShipment(shipment_id=shipment_id), warehouse(world))
    (shipment,) = await shipments_of(world, order_id)
    assert (shipment.status, shipment.delivery_status) == ("SHIPPED", "DELIVERED")
    assert (await world.order(order_id)).status == "COMPLETED"
    await assert_invariants(engine)


async def test_a_lost_parcel_keeps_its_order_open_until_staff_settle_it(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 10})
    order_id, shipment_id = await shipped(world, "T1")
    await report(world, scan("1", CarrierEventKind.LOST, 5))
    assert (await world.order(order_id)).status == "PROCESSING"
    discrepancy = await world.one(
        sa.select(Discrepancy.__table__).where(Discrepancy.subject_id == shipment_id)
    )
    assert discrepancy.kind == "UNEXPECTED_DELIVERY_SCAN"
    command = ResolveDiscrepancy(discrepancy_id=discrepancy.id, resolution="Insurance paid")
    await world.run(resolve_discrepancy, command)
    assert (await world.order(order_id)).status == "COMPLETED"
    with pytest.raises(Refused):
        await world.run(resolve_discrepancy, command)
    types = await world.event_types(order_id)
    assert types.count("DISCREPANCY_RESOLVED") == 1
    await assert_invariants(engine)


async def test_a_parcel_that_is_lost_again_after_it_was_settled_is_told_again(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 10})
    order_id, shipment_id = await shipped(world, "T1")
    open_ones = (
        sa.select(Discrepancy.id)
        .where(Discrepancy.subject_id == shipment_id, Discrepancy.status == "OPEN")
        .order_by(Discrepancy.id)
    )
    await report(world, scan("1", CarrierEventKind.LOST, 5))
    await report(world, scan("2", CarrierEventKind.IN_TRANSIT, 6))
    await report(world, scan("3", CarrierEventKind.LOST, 7))  # not settled yet: the same trouble
    (trouble,) = await world.all(open_ones)
    await world.run(resolve_discrepancy, ResolveDiscrepancy(discrepancy_id=trouble.id, resolution="Found"))
    await report(world, scan("4", CarrierEventKind.IN_TRANSIT, 8))
    await report(world, scan("5", CarrierEventKind.LOST, 9))
    assert len(await world.all(open_ones)) == 1
    assert await discrepancies_of(world, order_id) == ["UNEXPECTED_DELIVERY_SCAN"] * 2
    await assert_invariants(engine)


async def test_each_report_of_a_batch_is_answered_for_itself(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 10})
    order_id, shipment_id = await shipped(world, "T1")
    package = (await packages_of(world, shipment_id))[0]
    missing = unknown_id()
    good, unknown, malformed, both, by_id = await report(
        world,
        scan("1", CarrierEventKind.PICKED_UP),
        scan("2", CarrierEventKind.PICKED_UP, tracking="NOPE"),
        scan("3\x00", CarrierEventKind.PICKED_UP),
        CarrierEventReport(
            partner_event_id="4",
            kind=CarrierEventKind.DELIVERED,
            occurred_at=START,
            package_id=missing,
        ),
        CarrierEventReport(
            partner_event_id="5", kind=CarrierEventKind.DELIVERED, occurred_at=START, package_id=package.id
        ),
    )
    assert (good.id is not None, good.errors) == (True, ())
    assert unknown.errors == (
        NotFound(
            message="DHL carries no package NOPE that you may see.",
            field=("events", "1", "trackingNumber"),
            id="NOPE",
        ),
    )
    assert isinstance(malformed.errors[0], InvalidInput)
    assert malformed.errors[0].field == ("events", "2", "partnerEventId")
    assert isinstance(both.errors[0], NotFound)
    assert both.errors[0].id == f"pkg_{missing}"
    assert (by_id.id is not None, by_id.errors) == (True, ())
    assert (await shipments_of(world, order_id))[0].delivery_status == "DELIVERED"
    await assert_invariants(engine)


async def test_a_time_without_an_offset_and_a_resolution_that_is_no_text_are_refused(
    engine: AsyncEngine,
) -> None:
    world = await make_world(engine, {"a": 10})
    order_id, shipment_id = await shipped(world, "T1")
    naive = CarrierEventReport(
        partner_event_id="1",
        kind=CarrierEventKind.DELIVERED,
        occurred_at=datetime(2026, 1, 1),
        tracking_number="T1",
        carrier="DHL",
    )
    (outcome,) = await report(world, naive)
    assert outcome.errors[0].field == ("events", "0", "occurredAt")
    with pytest.raises(Refused):
        await world.run(
            dispatch_shipment,
            DispatchShipment(shipment_id=shipment_id, shipped_at=datetime(2026, 1, 1)),
        )
    with pytest.raises(Refused):
        await world.run(
            resolve_discrepancy, ResolveDiscrepancy(discrepancy_id=unknown_id(), resolution="\x00")
        )
    assert (await shipments_of(world, order_id))[0].delivery_status is None


async def test_a_number_used_again_means_the_latest_parcel(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 10})
    old, _ = await shipped(world, "T1")
    new, _ = await shipped(world, "T1")
    await report(world, scan("1", CarrierEventKind.DELIVERED))
    assert [(await shipments_of(world, order_id))[0].delivery_status for order_id in (old, new)] == [
        None,
        "DELIVERED",
    ]


async def test_a_partner_of_another_channel_cannot_report(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 10})
    order_id, _ = await shipped(world, "T1")
    stranger = Principal(
        kind=PrincipalKind.PARTNER, account="partner:other", scopes=ALL_SCOPES, channels=(unknown_id(),)
    )
    (outcome,) = await world.run(record_carrier_events, RecordCarrierEvents(events=HISTORY[:1]), stranger)
    assert isinstance(outcome.errors[0], NotFound)
    rows = await world.all(
        sa.select(Package.delivery_status).join(Shipment).where(Shipment.order_id == order_id)
    )
    assert [tuple(row) for row in rows] == [(None,)]


async def test_reports_of_two_orders_in_opposed_batches_do_not_deadlock(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 50})
    orders = [await shipped(world, f"T{number}") for number in range(6)]
    there = [scan("1", CarrierEventKind.PICKED_UP, tracking=f"T{number}") for number in range(6)]
    back = [scan("2", CarrierEventKind.DELIVERED, 3, tracking=f"T{number}") for number in reversed(range(6))]
    await asyncio.gather(report(world, *there), report(world, *back))
    for order_id, _ in orders:
        assert (await world.order(order_id)).status == "COMPLETED"
    await assert_invariants(engine)
