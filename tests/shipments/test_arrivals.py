"""One set of carriers' reports, in every order of arrival and with repetitions: one outcome.

The same status everywhere, and the same discrepancies for staff, however the reports
came in: alone or together, twice, and where one id came with two contents.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from db.discrepancies import Discrepancy
from db.shipments import CarrierEvent, Package, Shipment
from domain.shipment_commands import CarrierEventReport
from domain.shipments import CarrierEventKind
from tests.invariants import assert_invariants
from tests.shipments.test_deliveries import report, scan, shipped
from tests.world import World, make_world

KIND = CarrierEventKind

SETS = {
    "a scan between two ends": (
        scan("1", KIND.PICKED_UP, 1),
        scan("2", KIND.DELIVERED, 30),
        scan("3", KIND.IN_TRANSIT, 31),
        scan("4", KIND.RETURNED_TO_SENDER, 40),
    ),
    "lost, damaged, found, delivered": (
        scan("1", KIND.LOST, 5),
        scan("2", KIND.IN_TRANSIT, 6),
        scan("3", KIND.DAMAGED, 7),
        scan("4", KIND.DELIVERED, 9),
    ),
    "one id with two contents": (
        scan("1", KIND.DELIVERED, 9),
        scan("1", KIND.ATTEMPTED, 12),
        scan("2", KIND.IN_TRANSIT, 10),
        scan("3", KIND.OUT_FOR_DELIVERY, 8),
    ),
    "one id with three contents": (
        scan("1", KIND.LOST, 1),
        scan("1", KIND.DELIVERED, 2),
        scan("1", KIND.IN_TRANSIT, 3),
        scan("2", KIND.OUT_FOR_DELIVERY, 4),
    ),
    "two parcels": (
        scan("1", KIND.LOST, 3, tracking="T1"),
        scan("2", KIND.DAMAGED, 4, tracking="T2"),
        scan("3", KIND.IN_TRANSIT, 5, tracking="T2"),
        scan("4", KIND.DELIVERED, 6, tracking="T1"),
    ),
}


async def outcome(world: World, order_id: UUID, shipment_id: UUID) -> Any:
    """Everything that the reports decide, without ids of this order's own."""
    shipment = await world.one(
        sa.select(Shipment.delivery_status, Shipment.delivered_at).where(Shipment.id == shipment_id)
    )
    packages = await world.all(
        sa.select(Package.id, Package.delivery_status, Package.delivered_at)
        .where(Package.shipment_id == shipment_id)
        .order_by(Package.tracking_number)
    )
    names = {row.id: number for number, row in enumerate(packages)} | {shipment_id: "shipment"}
    told = await world.all(
        sa.select(Discrepancy.kind, Discrepancy.subject_id, Discrepancy.report, Discrepancy.details).where(
            Discrepancy.order_id == order_id
        )
    )
    events = await world.all(
        sa.select(
            CarrierEvent.package_id,
            CarrierEvent.partner_event_id,
            CarrierEvent.kind,
            CarrierEvent.occurred_at,
        ).where(CarrierEvent.package_id.in_([row.id for row in packages]))
    )
    return (
        tuple(shipment),
        [tuple(row)[1:] for row in packages],
        sorted(
            (row.kind, str(names[row.subject_id]), row.report, str(row.details.get("contents")))
            for row in told
        ),
        sorted((names[row.package_id], *tuple(row)[1:]) for row in events),
        (await world.order(order_id)).status,
    )


def batches(arrival: Sequence[CarrierEventReport], dice: random.Random) -> list[list[CarrierEventReport]]:
    """The reports in this order, in calls of one to four, some of them sent again later."""
    sent: list[list[CarrierEventReport]] = []
    rest = list(arrival)
    while rest:
        size = dice.randint(1, len(rest))
        sent.append(rest[:size])
        rest = rest[size:]
        if dice.random() < 0.4:
            sent.append(dice.sample(sent[-1], dice.randint(1, len(sent[-1]))))
    return sent


@pytest.mark.parametrize("name", SETS)
async def test_every_order_of_arrival_ends_with_the_same_status_and_discrepancies(
    engine: AsyncEngine, name: str
) -> None:
    world = await make_world(engine, {"a": 100})
    dice = random.Random(name)  # noqa: S311 - a test's dice
    outcomes = []
    for number, arrival in enumerate(itertools.permutations(SETS[name])):
        order_id, shipment_id = await shipped(world, f"T1-{number}", f"T2-{number}")
        for batch in batches(arrival, dice):
            await report(
                world, *(replace(one, tracking_number=f"{one.tracking_number}-{number}") for one in batch)
            )
        outcomes.append(await outcome(world, order_id, shipment_id))
    assert len(outcomes) == 24
    for other in outcomes[1:]:
        assert other == outcomes[0]
    assert outcomes[0][2], "the set was to surprise somebody"
    await assert_invariants(engine)
