"""Placing orders against a real PostgreSQL."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.errors import (
    AlreadyExists,
    IdempotencyConflict,
    InsufficientStock,
    InvalidInput,
    NotFound,
    Refused,
)
from domain.order_commands import ExternalId, PlaceLine, PlaceOrder
from services.placement import place_order
from services.unit_of_work import Key
from tests.invariants import assert_invariants
from tests.world import EXTERNAL, make_world


async def test_three_lines_with_one_sku_twice_are_priced_allocated_and_released(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 10, "b": 5})
    order_id = await world.place(("a", 2), ("b", 1), ("a", 3))
    order = await world.order(order_id)
    assert (order.status, order.payment_status, order.original_total) == ("CONFIRMED", "PAID", 6000)
    assert [line.quantity_allocated for line in await world.lines(order_id)] == [2, 1, 3]
    level = await world.level("a")
    assert (level.sellable, level.allocated) == (10, 5)
    types = await world.event_types(order_id)
    assert types[0] == "ORDER_PLACED"
    assert "ORDER_CONFIRMED" in types
    assert types[-1] == "FULFILLMENT_ORDER_OPENED"
    await assert_invariants(engine)


async def test_demand_is_summed_per_sku_before_it_is_checked(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 4, "b": 1})
    with pytest.raises(Refused) as refused:
        await world.place(("a", 3), ("b", 2), ("a", 2))
    assert {
        (e.sku, e.requested, e.available) for e in refused.value.errors if isinstance(e, InsufficientStock)
    } == {
        ("a", 5, 4),
        ("b", 2, 1),
    }
    assert (await world.level("a")).allocated == 0
    await assert_invariants(engine)


async def test_a_backorderable_sku_is_owed_for_what_is_missing(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 4, "none": 0}, backorderable=frozenset({"a", "none"}))
    order_id = await world.place(("a", 6), ("none", 1))
    lines = await world.lines(order_id)
    assert [(line.quantity_allocated, line.quantity_backordered) for line in lines] == [(4, 2), (0, 1)]
    level = await world.level("a")
    assert (level.allocated, level.backordered) == (4, 2)
    await assert_invariants(engine)


async def test_one_location_that_covers_everything_is_preferred(engine: AsyncEngine) -> None:
    world = await make_world(
        engine, {"a": {"main": 1, "far": 5}, "b": {"main": 9, "far": 5}}, locations=("main", "far")
    )
    await world.place(("a", 2), ("b", 2))
    assert (await world.level("b", "far")).allocated == 2
    assert (await world.level("b", "main")).allocated == 0
    await assert_invariants(engine)


async def test_sent_twice_there_is_one_order(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 10})
    command = PlaceOrder(
        channel_id=world.channel_id,
        lines=(PlaceLine(sku="a", quantity=1, unit_price=1000),),
        payment=EXTERNAL,
    )
    key = Key.of("k1", "orderPlace", b"input")
    run = world.unit_of_work.run
    answers = await asyncio.gather(
        *(run(place_order, command, actor=world.partner, key=key) for _ in range(8))
    )
    assert len(set(answers)) == 1
    assert isinstance(answers[0], UUID)
    assert (await world.level("a")).allocated == 1
    with pytest.raises(Refused) as refused:
        await run(place_order, command, actor=world.partner, key=Key.of("k1", "orderPlace", b"other"))
    assert isinstance(refused.value.errors[0], IdempotencyConflict)
    await assert_invariants(engine)


async def test_an_external_id_names_one_order_of_a_channel(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 10})
    names = (ExternalId(system="market", id="M-1"),)
    await world.place(("a", 1), external_ids=names)
    with pytest.raises(Refused) as refused:
        await world.place(("a", 1), external_ids=names)
    assert refused.value.errors == (
        AlreadyExists(
            message="This channel already has an order that market calls M-1.",
            field=("externalIds", "0", "id"),
            value="M-1",
        ),
    )
    assert (await world.level("a")).allocated == 1
    await assert_invariants(engine)


async def test_an_unknown_sku_and_a_foreign_currency_are_refused(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 10})
    with pytest.raises(Refused) as refused:
        await world.place(("a", 1), ("nothing", 1))
    assert isinstance(refused.value.errors[0], NotFound)
    assert refused.value.errors[0].field == ("lines", "1", "sku")
    with pytest.raises(Refused) as refused:
        await world.place(("a", 1), currency="USD")
    assert isinstance(refused.value.errors[0], InvalidInput)


async def test_ten_units_are_sold_to_ten_of_many_and_to_no_more(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"hot": 10})
    answers = await asyncio.gather(*(world.place(("hot", 1)) for _ in range(40)), return_exceptions=True)
    sold = [answer for answer in answers if isinstance(answer, UUID)]
    assert len(sold) == 10
    assert all(isinstance(answer, UUID | Refused) for answer in answers)
    assert (await world.level("hot")).allocated == 10
    await assert_invariants(engine)
