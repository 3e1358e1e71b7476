"""Orders live random lives, several at once on real connections: whatever happens, the invariants hold.

Refusals are expected (much of what is tried makes no sense); anything else that is
raised is a bug.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from db.discrepancies import Discrepancy
from db.fulfillment import FulfillmentOrder, FulfillmentOrderLine
from db.orders import Order, OrderLine
from db.payments import PaymentTransaction
from db.returns import Return, ReturnLine
from db.shipments import Package, Shipment
from db.stock import StockLevel
from domain.errors import Refused
from domain.fulfillment_commands import (
    AcceptCancellation,
    AcceptFulfillmentOrder,
    HoldFulfillmentOrder,
    MarkShort,
    RejectCancellation,
    RejectFulfillmentOrder,
    ReleaseFulfillmentOrder,
    ShortUnits,
)
from domain.order_commands import CancelOrder, CancelUnits
from domain.return_commands import (
    ApproveReturn,
    CancelReturn,
    CloseReturn,
    InspectedUnits,
    InspectReturn,
    ReceivedUnits,
    ReceiveReturn,
    RequestReturn,
    ReturnUnits,
)
from domain.returns import Disposition, ReturnReason
from domain.shipment_commands import (
    CancelShipment,
    CarrierEventReport,
    CollectShipment,
    CreateShipment,
    DispatchShipment,
    ExpirePickup,
    PackShipment,
    ReadyForPickup,
    RecordCarrierEvents,
    ShipUnits,
)
from domain.shipments import CarrierEventKind
from domain.stock_commands import AdjustStock, StockPlace
from services.backorders import ServeBackorders, serve_backorders
from services.deliveries import record_carrier_events
from services.discrepancies import ResolveDiscrepancy, resolve_discrepancy
from services.dispatches import collect_shipment, dispatch_shipment, expire_pickup
from services.fulfillment import (
    accept_fulfillment_order,
    hold_fulfillment_order,
    reject_fulfillment_order,
    release_fulfillment_order,
)
from services.order_cancellation import cancel_order
from services.return_inspection import inspect_return, receive_return
from services.return_requests import request_return
from services.returns import approve_return, cancel_return, close_return
from services.shipment_cancellation import cancel_shipment
from services.shipments import create_shipment, pack_shipment, ready_for_pickup
from services.short_picks import mark_short
from services.stock_intake import adjust_stock
from services.transactions import Outcome, RecordResult, record_result
from services.withdrawals import accept_cancellation, reject_cancellation
from tests.fulfillment.steps import CARD
from tests.invariants import assert_invariants
from tests.world import EXTERNAL, STAFF, World, make_world

STEPS = 60
AT_ONCE = 4


class Lives:
    """One worker's dice, and everything it may try."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.dice = random.Random(seed)  # noqa: S311 - a test's dice

    async def some(self, table: Any, *conditions: Any) -> Any:
        """A random row, or a refusal that ends the attempt."""
        rows = await self.world.all(sa.select(table.__table__).where(*conditions).order_by(table.id))
        if not rows:
            raise LookupError
        return self.dice.choice(rows)

    async def run(self, use_case: Any, command: Any) -> Any:
        return await self.world.run(use_case, command, STAFF)

    async def place(self) -> None:
        lines = [(self.dice.choice("ab"), self.dice.randint(1, 4)) for _ in range(self.dice.randint(1, 2))]
        payment = self.dice.choice([CARD, EXTERNAL])
        await self.world.place(*lines, payment=payment, priority=self.dice.randint(0, 2))

    async def cancel(self) -> None:
        order = await self.some(Order)
        lines: tuple[CancelUnits, ...] = ()
        if self.dice.random() < 0.5:
            line = await self.some(OrderLine, OrderLine.order_id == order.id)
            lines = (CancelUnits(line_id=line.id, quantity=self.dice.randint(1, line.quantity)),)
        await self.run(cancel_order, CancelOrder(order_id=order.id, lines=lines))

    async def provider_answers(self) -> None:
        asked = await self.some(PaymentTransaction, PaymentTransaction.status == "PENDING")
        outcome = self.dice.choice([Outcome.SUCCEEDED] * 5 + [Outcome.FAILED])
        await self.run(record_result, RecordResult(transaction_id=asked.id, outcome=outcome))

    async def answer(self) -> None:
        found = (await self.some(FulfillmentOrder)).id
        use_case, command = self.dice.choice(
            [
                (accept_fulfillment_order, AcceptFulfillmentOrder(fulfillment_order_id=found)),
                (accept_fulfillment_order, AcceptFulfillmentOrder(fulfillment_order_id=found)),
                (reject_fulfillment_order, RejectFulfillmentOrder(fulfillment_order_id=found, reason="No")),
                (hold_fulfillment_order, HoldFulfillmentOrder(fulfillment_order_id=found)),
                (release_fulfillment_order, ReleaseFulfillmentOrder(fulfillment_order_id=found)),
                (accept_cancellation, AcceptCancellation(fulfillment_order_id=found)),
                (reject_cancellation, RejectCancellation(fulfillment_order_id=found)),
            ]
        )
        await self.run(use_case, command)

    async def units(self, fulfillment_order_id: UUID) -> tuple[ShipUnits, ...]:
        if self.dice.random() < 0.4:
            return ()
        line = await self.some(
            FulfillmentOrderLine, FulfillmentOrderLine.fulfillment_order_id == fulfillment_order_id
        )
        return (
            ShipUnits(fulfillment_order_line_id=line.id, quantity=self.dice.randint(1, line.quantity + 1)),
        )

    async def short(self) -> None:
        found = await self.some(FulfillmentOrder)
        line = await self.some(FulfillmentOrderLine, FulfillmentOrderLine.fulfillment_order_id == found.id)
        missing = ShortUnits(fulfillment_order_line_id=line.id, quantity=self.dice.randint(1, line.quantity))
        await self.run(mark_short, MarkShort(fulfillment_order_id=found.id, lines=(missing,)))

    async def begin(self) -> None:
        found = (await self.some(FulfillmentOrder)).id
        await self.run(
            create_shipment, CreateShipment(fulfillment_order_id=found, lines=await self.units(found))
        )

    async def dispatch(self) -> None:
        if self.dice.random() < 0.5:
            shipment = await self.some(Shipment)
            await self.run(dispatch_shipment, DispatchShipment(shipment_id=shipment.id, carrier="DHL"))
            return
        found = (await self.some(FulfillmentOrder)).id
        command = DispatchShipment(fulfillment_order_id=found, lines=await self.units(found), carrier="DHL")
        await self.run(dispatch_shipment, command)

    async def handle(self) -> None:
        shipment = (await self.some(Shipment)).id
        use_case, command = self.dice.choice(
            [
                (pack_shipment, PackShipment(shipment_id=shipment)),
                (ready_for_pickup, ReadyForPickup(shipment_id=shipment)),
                (collect_shipment, CollectShipment(shipment_id=shipment)),
                (expire_pickup, ExpirePickup(shipment_id=shipment)),
                (cancel_shipment, CancelShipment(shipment_id=shipment)),
            ]
        )
        await self.run(use_case, command)

    async def scan(self) -> None:
        database_now = (await self.world.one(sa.select(sa.func.now().label("now")))).now
        events = []
        for _ in range(self.dice.randint(1, 3)):
            package = await self.some(Package)
            events.append(
                CarrierEventReport(
                    partner_event_id=str(self.dice.randint(1, 5)),
                    kind=self.dice.choice(list(CarrierEventKind)),
                    occurred_at=database_now,
                    package_id=package.id,
                )
            )
        await self.run(record_carrier_events, RecordCarrierEvents(events=tuple(events)))

    async def ask_to_return(self) -> None:
        line = await self.some(OrderLine, OrderLine.quantity_fulfilled > 0)
        asked = ReturnUnits(order_line_id=line.id, quantity=1, reason=ReturnReason.OTHER)
        await self.run(request_return, RequestReturn(order_id=line.order_id, lines=(asked,)))

    async def handle_return(self) -> None:
        found = (await self.some(Return)).id
        line = await self.some(ReturnLine, ReturnLine.return_id == found)
        judged = InspectedUnits(
            line_id=line.id,
            accepted=self.dice.randint(0, 1),
            rejected=self.dice.randint(0, 1),
            disposition=self.dice.choice(list(Disposition)),
        )
        received = ReceivedUnits(line_id=line.id, quantity=self.dice.randint(1, 2))
        use_case, command = self.dice.choice(
            [
                (approve_return, ApproveReturn(return_id=found)),
                (cancel_return, CancelReturn(return_id=found)),
                (receive_return, ReceiveReturn(return_id=found, lines=(received,))),
                (inspect_return, InspectReturn(return_id=found, lines=(judged,))),
                (inspect_return, InspectReturn(return_id=found, lines=(judged,))),
                (close_return, CloseReturn(return_id=found)),
            ]
        )
        await self.run(use_case, command)

    async def settle_discrepancy(self) -> None:
        found = await self.some(Discrepancy)
        await self.run(resolve_discrepancy, ResolveDiscrepancy(discrepancy_id=found.id, resolution="Settled"))

    async def serve(self) -> None:
        level = await self.some(StockLevel)
        await self.run(serve_backorders, ServeBackorders(level_id=level.id))

    async def count(self) -> None:
        level = await self.some(StockLevel)
        place = StockPlace(product_id=level.product_id, location_id=level.location_id)
        found = max(0, level.sellable + self.dice.randint(-4, 4))
        await self.run(adjust_stock, AdjustStock(place=place, reason="Counted", counted=found))

    async def live(self) -> None:
        tries: list[tuple[int, Callable[[], Awaitable[None]]]] = [
            (6, self.place),
            (2, self.cancel),
            (6, self.provider_answers),
            (6, self.answer),
            (2, self.short),
            (3, self.begin),
            (6, self.dispatch),
            (3, self.handle),
            (4, self.scan),
            (3, self.ask_to_return),
            (5, self.handle_return),
            (1, self.settle_discrepancy),
            (2, self.serve),
            (2, self.count),
        ]
        weights = [weight for weight, _ in tries]
        for _ in range(STEPS):
            ((_, attempt),) = self.dice.choices(tries, weights)
            try:
                await attempt()
            except (Refused, LookupError):
                continue


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_happens_the_invariants_hold(engine: AsyncEngine, seed: int) -> None:
    world = await make_world(
        engine,
        {"a": {"main": 20, "far": 10}, "b": {"main": 6, "far": 6}},
        backorderable=frozenset({"b"}),
        locations=("main", "far"),
    )
    await asyncio.gather(*(Lives(world, 100 * seed + number).live() for number in range(AT_ONCE)))
    await assert_invariants(engine)
    sent = await world.one(
        sa.select(sa.func.count()).select_from(Shipment).where(Shipment.shipped_at.is_not(None))
    )
    assert sent[0] > 0
