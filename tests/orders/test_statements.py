"""Writes take a handful of round trips, whatever the number of lines."""

from __future__ import annotations

import asyncio
from typing import Any

import sqlalchemy as sa

from db.engine import create_write_engine
from db.fulfillment import FulfillmentOrder
from domain.fulfillment_commands import AcceptFulfillmentOrder
from domain.order_commands import CancelOrder
from domain.shipment_commands import DispatchShipment
from services.dispatches import dispatch_shipment
from services.fulfillment import accept_fulfillment_order
from services.order_cancellation import cancel_order
from tests.world import make_world

MOST = {"place": 5, "cancel": 16, "accept": 12, "dispatch": 19}
"""Round trips, BEGIN and COMMIT counted."""


async def test_placing_cancelling_and_sending_take_as_many_round_trips_for_one_line_as_for_twenty(
    database_url: str,
) -> None:
    sent: list[str] = []
    engine = create_write_engine(database_url, pool_size=1)
    engine.on_statement(lambda logged: sent.append(logged.query))
    world = await make_world(engine, {f"sku-{number}": 100 for number in range(20)})
    counts: dict[str, set[int]] = {}

    # What a connection asks once is not counted.
    await world.place(("sku-0", 1))

    async def count(name: str, work: Any) -> Any:
        await asyncio.sleep(0)  # the driver tells of a statement a turn of the loop later
        sent.clear()
        result = await work
        await asyncio.sleep(0)
        counts.setdefault(name, set()).add(len(sent))
        return result

    try:
        for lines in (1, 20):
            wanted = [(f"sku-{number}", 1) for number in range(lines)]
            order_id = await count("place", world.place(*wanted))
            await count("cancel", world.run(cancel_order, CancelOrder(order_id=order_id)))
            order_id = await count("place", world.place(*wanted))
            found = await world.one(
                sa.select(FulfillmentOrder.id).where(FulfillmentOrder.order_id == order_id)
            )
            accepting = AcceptFulfillmentOrder(fulfillment_order_id=found.id)
            await count("accept", world.run(accept_fulfillment_order, accepting))
            sending = DispatchShipment(fulfillment_order_id=found.id, carrier="DHL")
            await count("dispatch", world.run(dispatch_shipment, sending))
    finally:
        await engine.dispose()
    assert all(len(found) == 1 for found in counts.values()), counts
    assert {name: max(found) for name, found in counts.items() if max(found) > MOST[name]} == {}
