"""What bounded callers may see and do, beyond orders themselves."""

from __future__ import annotations

from uuid import uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from app.auth import guest
from db.base import new_id
from db.customers import Company
from db.orders import Order
from domain.access import ALL_SCOPES, Principal, PrincipalKind
from domain.errors import NotFound, Refused
from domain.ids import format_id
from services.completion import complete_quiet_orders
from services.reservations import (
    ReleaseReservation,
    ReserveLine,
    ReserveStock,
    release_reservation,
    reserve_stock,
)
from tests.invariants import assert_invariants
from tests.serving import served
from tests.world import STAFF, make_world


def warehouse(*locations: object) -> Principal:
    return Principal(
        kind=PrincipalKind.PARTNER,
        account="partner:warehouse",
        scopes=ALL_SCOPES,
        locations=tuple(locations),  # type: ignore[arg-type] # ids of the world
    )


async def test_an_order_is_placed_for_a_company_that_the_caller_may_see(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 5})
    company_id = new_id()
    async with engine.begin() as session:
        await session.execute(sa.insert(Company).values(id=company_id, name="Another's customer"))
    for unseen in (company_id, uuid4()):
        with pytest.raises(Refused) as refused:
            await world.place(("a", 1), company_id=unseen)
        (error,) = refused.value.errors
        assert isinstance(error, NotFound)
        assert error.field == ("companyId",)
    await world.place(("a", 1), company_id=company_id, actor=STAFF)


async def test_a_warehouse_sees_and_releases_only_reservations_that_lie_with_it(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": {"main": 5, "far": 5}}, locations=("main", "far"))
    command = ReserveStock(channel_id=world.channel_id, lines=(ReserveLine(sku="a", quantity=2),), minutes=10)
    reservation_id = await world.run(reserve_stock, command, world.partner)
    release = ReleaseReservation(reservation_id=reservation_id)
    with pytest.raises(Refused) as refused:
        await world.run(release_reservation, release, warehouse(world.locations["far"]))
    assert isinstance(refused.value.errors[0], NotFound)
    assert (await world.level("a")).reserved == 2
    await world.run(release_reservation, release, warehouse(world.locations["main"]))
    assert (await world.level("a")).reserved == 0
    await assert_invariants(engine)


async def test_a_warehouse_sells_through_no_channel_that_it_does_not_serve(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 5})
    with pytest.raises(Refused) as refused:
        await world.place(("a", 1), actor=warehouse(uuid4()), customer_id=None)
    assert isinstance(refused.value.errors[0], NotFound)
    assert refused.value.errors[0].field == ("channelId",)


async def test_a_customer_sees_what_leaves_and_not_what_locations_are_asked(
    engine: AsyncEngine, database_url: str
) -> None:
    world = await make_world(engine, {"a": 5})
    order_id = await world.place(("a", 1))
    async with served(database_url, workers=False) as api:
        query = "query($id: ID!) { order(id: $id) { fulfillmentOrders { id } } }"
        variables = {"id": format_id("ord", order_id)}
        seen = await api.data(guest(order_id), query, variables)
        assert seen["order"]["fulfillmentOrders"] == []
        assert len((await api.data(STAFF, query, variables))["order"]["fulfillmentOrders"]) == 1


async def test_orders_that_cannot_complete_do_not_keep_others_from_it(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 5})
    order_id = await world.place(("a", 1))
    async with engine.begin() as session:  # left long ago, as far as its status goes, with a unit still open
        await session.execute(
            sa.update(Order)
            .where(Order.id == order_id)
            .values(dispatched_at=sa.text("now() - interval '1 year'"))
        )
    version = (await world.order(order_id)).version
    assert await world.run(complete_quiet_orders, 100) == 0
    assert (await world.order(order_id)).version == version
