"""Writes take a handful of statements, whatever the number of lines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from db.fulfillment import FulfillmentOrder
from domain.fulfillment_commands import AcceptFulfillmentOrder
from domain.order_commands import CancelOrder
from domain.shipment_commands import DispatchShipment
from services.dispatches import dispatch_shipment
from services.fulfillment import accept_fulfillment_order
from services.order_cancellation import cancel_order
from tests.world import World, make_world


@contextmanager
def counted(engine: AsyncEngine) -> Iterator[list[str]]:
    """The statements that the engine sends; one for a batch of rows, BEGIN and COMMIT left out."""
    sent: list[str] = []

    def remember(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        sent.append(statement)

    event.listen(engine.sync_engine, "before_cursor_execute", remember)
    try:
        yield sent
    finally:
        event.remove(engine.sync_engine, "before_cursor_execute", remember)


async def place(world: World, lines: int) -> tuple[Any, int]:
    with counted(world.engine) as sent:
        order_id = await world.place(*((f"sku-{number}", 1) for number in range(lines)))
    return order_id, len(sent)


async def test_placing_cancelling_and_sending_take_as_many_statements_for_one_line_as_for_thirty(
    engine: AsyncEngine,
) -> None:
    world = await make_world(engine, {f"sku-{number}": 100 for number in range(30)})
    figures: dict[str, set[int]] = {}
    for lines in (1, 30):
        order_id, statements = await place(world, lines)
        figures.setdefault("place", set()).add(statements)
        with counted(engine) as sent:
            await world.run(cancel_order, CancelOrder(order_id=order_id))
        figures.setdefault("cancel", set()).add(len(sent))

        order_id, _ = await place(world, lines)
        found = await world.one(sa.select(FulfillmentOrder.id).where(FulfillmentOrder.order_id == order_id))
        with counted(engine) as sent:
            await world.run(accept_fulfillment_order, AcceptFulfillmentOrder(fulfillment_order_id=found.id))
        figures.setdefault("accept", set()).add(len(sent))
        with counted(engine) as sent:
            await world.run(dispatch_shipment, DispatchShipment(fulfillment_order_id=found.id, carrier="DHL"))
        figures.setdefault("dispatch", set()).add(len(sent))
    assert all(len(counts) == 1 for counts in figures.values()), figures
    most = {name: max(counts) for name, counts in figures.items()}
    assert most["place"] <= 24
    assert most["accept"] <= 14
    assert most["cancel"] <= 26
    assert most["dispatch"] <= 40
