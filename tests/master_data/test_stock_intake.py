"""Receipts, adjustments and counts; what gives way when there is less than was promised."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from app.auth import partner
from db.discrepancies import Discrepancy
from db.stock import StockMovement
from domain.access import Principal
from domain.errors import InvalidInput, NotFound, QuantityExceeded, Refused
from domain.stock import Bucket
from domain.stock_commands import AdjustStock, ReceiveStock, StockPlace
from services.reservations import ReserveLine, ReserveStock, reserve_stock
from services.stock_intake import adjust_stock, adjust_stocks, receive_stock, receive_stocks
from tests.invariants import assert_invariants
from tests.world import World, make_world

PLACE = StockPlace(sku="A", location_code="main")


async def ledger(world: World) -> list[tuple[str, str, int]]:
    rows = await world.all(
        sa.select(StockMovement.kind, StockMovement.bucket, StockMovement.quantity).order_by(StockMovement.id)
    )
    return [(row.kind, row.bucket, row.quantity) for row in rows]


async def units(world: World, sku: str = "A") -> dict[str, Any]:
    level = await world.level(sku)
    return {name: level._mapping[name] for name in ("sellable", "allocated", "reserved", "backordered")}


async def test_a_receipt_adds_to_its_bucket_and_stands_in_the_ledger(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"A": 5})
    await world.run(receive_stock, ReceiveStock(place=PLACE, quantity=7, reference="DN-1"))
    await world.run(receive_stock, ReceiveStock(place=PLACE, quantity=2, bucket=Bucket.DAMAGED))
    level = await world.level("A")
    assert (level.sellable, level.damaged) == (12, 2)
    assert (await ledger(world))[1:] == [("RECEIPT", "SELLABLE", 7), ("RECEIPT", "DAMAGED", 2)]
    await assert_invariants(engine)


async def test_each_item_of_a_batch_is_answered_for_itself(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"A": 5, "B": 0})
    outcomes = await world.run(
        receive_stocks,
        (
            ReceiveStock(place=PLACE, quantity=1),
            ReceiveStock(place=StockPlace(sku="NONE", location_code="main"), quantity=1),
            ReceiveStock(place=StockPlace(sku="A", location_id=uuid4()), quantity=1),
            ReceiveStock(place=StockPlace(sku="A"), quantity=0),
            ReceiveStock(place=PLACE, quantity=3),
            ReceiveStock(place=StockPlace(sku="B", location_code="main"), quantity=4),
        ),
    )
    assert [[(type(e), e.field) for e in outcome.errors] for outcome in outcomes] == [
        [],
        [(NotFound, ("sku",))],
        [(NotFound, ("locationId",))],
        [(InvalidInput, ("locationCode",)), (InvalidInput, ("quantity",))],
        [],
        [],
    ]
    assert outcomes[0].id == outcomes[4].id
    assert ((await world.level("A")).sellable, (await world.level("B")).sellable) == (9, 4)
    await assert_invariants(engine)


async def test_an_adjustment_is_a_difference_and_a_count_says_what_is_there(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"A": 10})
    await world.run(adjust_stock, AdjustStock(place=PLACE, delta=-3, reason="broken"))
    await world.run(adjust_stock, AdjustStock(place=PLACE, counted=9, reason="counted"))
    await world.run(adjust_stock, AdjustStock(place=PLACE, counted=9, reason="counted again"))
    assert (await ledger(world))[1:] == [("ADJUSTMENT", "SELLABLE", -3), ("COUNT", "SELLABLE", 2)]
    with pytest.raises(Refused) as refused:
        await world.run(adjust_stock, AdjustStock(place=PLACE, delta=-10, reason="no"))
    assert [type(error) for error in refused.value.errors] == [QuantityExceeded]
    assert (await world.level("A")).sellable == 9
    await assert_invariants(engine)


async def test_a_count_below_the_promises_backorders_the_weakest_first(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"A": 10})
    important = await world.place(("A", 4), priority=5)
    early = await world.place(("A", 3))
    late = await world.place(("A", 3))
    await world.run(adjust_stock, AdjustStock(place=PLACE, counted=6, reason="counted"))
    assert await units(world) == {"sellable": 6, "allocated": 6, "reserved": 0, "backordered": 4}
    held = [(await world.lines(order))[0] for order in (important, early, late)]
    assert [(line.quantity_allocated, line.quantity_backordered) for line in held] == [(4, 0), (2, 1), (0, 3)]
    assert len(await world.all(sa.select(Discrepancy.id))) == 2
    assert (await world.event_types(late))[-2:] == ["ORDER_UNITS_BACKORDERED", "DISCREPANCY_RECORDED"]
    await assert_invariants(engine)


async def test_a_line_that_falls_short_at_two_counts_is_told_of_twice(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"A": 4})
    await world.place(("A", 4))
    for counted in (3, 2):
        await world.run(adjust_stock, AdjustStock(place=PLACE, counted=counted, reason="counted"))
    assert await units(world) == {"sellable": 2, "allocated": 2, "reserved": 0, "backordered": 2}
    told = await world.all(sa.select(Discrepancy.kind, Discrepancy.status))
    assert [tuple(one) for one in told] == [("SHORTAGE", "OPEN")] * 2
    await assert_invariants(engine)


async def test_reservations_give_back_what_allocations_cannot(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"A": 10})
    await world.place(("A", 2))
    for _ in range(2):
        command = ReserveStock(
            channel_id=world.channel_id, lines=(ReserveLine(sku="A", quantity=4),), minutes=5
        )
        await world.run(reserve_stock, command, world.partner)
    await world.run(adjust_stock, AdjustStock(place=PLACE, counted=3, reason="counted"))
    assert await units(world) == {"sellable": 3, "allocated": 0, "reserved": 3, "backordered": 2}
    await assert_invariants(engine)


async def test_two_adjustments_of_one_level_in_a_batch_follow_each_other(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"A": 10})
    outcomes = await world.run(
        adjust_stocks,
        (
            AdjustStock(place=PLACE, delta=-8, reason="first"),
            AdjustStock(place=PLACE, delta=-8, reason="second"),
            AdjustStock(place=PLACE, counted=5, reason="third"),
            AdjustStock(place=PLACE, counted=1, bucket=Bucket.DISPLAY, reason="shown"),
        ),
    )
    assert [len(outcome.errors) for outcome in outcomes] == [0, 1, 0, 0]
    level = await world.level("A")
    assert (level.sellable, level.display) == (5, 1)
    await assert_invariants(engine)


async def test_a_warehouse_writes_the_stock_of_its_own_location_only(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"A": {"main": 5, "other": 5}}, locations=("main", "other"))
    main: Principal = partner("partner:main", locations=(world.locations["main"],))
    await world.run(receive_stock, ReceiveStock(place=PLACE, quantity=1), main)
    other = StockPlace(sku="A", location_code="other")
    for use_case, command in (
        (receive_stock, ReceiveStock(place=other, quantity=1)),
        (adjust_stock, AdjustStock(place=other, counted=0, reason="theirs")),
    ):
        with pytest.raises(Refused, match="NOT_FOUND"):
            await world.run(use_case, command, main)
    assert ((await world.level("A")).sellable, (await world.level("A", "other")).sellable) == (6, 5)
    await assert_invariants(engine)
