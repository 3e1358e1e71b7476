"""One order of the demo shop on its way, step by step, each at its own time."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import Row

from app.demo import catalogue
from app.demo.shop import Shop, likely_order
from db.engine import Session
from db.fulfillment import FulfillmentOrder
from db.orders import OrderLine
from db.payments import PaymentTransaction
from db.shipments import Package
from domain.access import Principal
from domain.fulfillment_commands import AcceptFulfillmentOrder
from domain.order_commands import ExternalId, PaymentIntent, PlaceLine
from domain.payments import PaymentMethod, TransactionStatus
from domain.return_commands import (
    RequestReturn,
    ReturnUnits,
)
from domain.returns import ReturnReason
from domain.shipment_commands import (
    CarrierEventReport,
    CreateShipment,
    DispatchShipment,
    PackShipment,
    Parcel,
    RecordCarrierEvents,
    StartPicking,
)
from domain.shipments import CarrierEventKind
from services.deliveries import record_carrier_events
from services.dispatches import dispatch_shipment
from services.fulfillment import accept_fulfillment_order
from services.placement import place_order
from services.return_requests import request_return
from services.shipments import create_shipment, pack_shipment, start_picking
from services.transactions import Outcome, RecordResult, record_result

CARD = PaymentIntent(method=PaymentMethod.CARD, token="approve")  # noqa: S106 - the sandbox's test number
TRANSFER = PaymentIntent(method=PaymentMethod.BANK_TRANSFER)
EXTERNAL = PaymentIntent(method=PaymentMethod.EXTERNAL)
TERMS = PaymentIntent(method=PaymentMethod.INVOICE)

SOLD_BY = (
    ("WEB", CARD),
    ("MARKET", EXTERNAL),
    ("WEB", CARD),
    ("MARKET", EXTERNAL),
    ("MARKET-US", EXTERNAL),
    ("SHOP", CARD),
    ("MARKET", EXTERNAL),
    ("REPS", TERMS),
)
"""How the orders of a story are spread over channels."""

AUTHORIZED_DAYS = 20
"""How long a card's authorisation holds, longer than any order of the set has waited."""


@dataclass(slots=True)
class Story:
    """One order on its way; `now` is the time of the step."""

    session: Session
    shop: Shop
    chance: random.Random
    actor: Principal
    now: datetime
    order_id: UUID = field(default_factory=lambda: UUID(int=0))

    async def do(self, use_case: Any, command: Any) -> Any:
        """One use case at the story's time, which then goes on a little."""
        outcome = await use_case(self.session, command, actor=self.actor, now=self.now)
        self.now += timedelta(minutes=self.chance.randint(3, 25))
        return outcome

    async def place(
        self,
        channel: str | None = None,
        payment: PaymentIntent | None = None,
        lines: Sequence[PlaceLine] | None = None,
    ) -> None:
        if channel is None:
            channel, payment = SOLD_BY[self.chance.randrange(len(SOLD_BY))]
        command = likely_order(
            self.shop, self.chance, channel, self.chance.choice(self.shop.buyers), self.now
        )
        external: tuple[ExternalId, ...] = ()
        if channel.startswith("MARKET"):
            external = (ExternalId(system="marketplace", id=f"{self.chance.randrange(10**9):09d}"),)
        if lines is not None:
            command = replace(command, lines=tuple(lines))
        self.order_id = await self.do(place_order, replace(command, payment=payment, external_ids=external))

    async def settle(self, outcome: Outcome = Outcome.SUCCEEDED, **more: Any) -> None:
        """Let the provider answer whatever of the order's money is still asked for."""
        table = PaymentTransaction.metadata.tables["payment_transaction"]
        waiting = await self._all(
            sa.select(table.c.id).where(
                table.c.order_id == self.order_id, table.c.status == TransactionStatus.PENDING
            )
        )
        for row in waiting:
            await self.do(
                record_result,
                RecordResult(
                    transaction_id=row.id,
                    outcome=outcome,
                    provider_reference=f"demo-{row.id.hex[-8:]}",
                    expires_at=self.now + timedelta(days=AUTHORIZED_DAYS),
                    **more,
                ),
            )

    async def fulfillment_orders(self) -> Sequence[Row[Any]]:
        table = FulfillmentOrder.metadata.tables["fulfillment_order"]
        return await self._all(sa.select(table).where(table.c.order_id == self.order_id).order_by(table.c.id))

    async def accept(self) -> list[UUID]:
        """Every location that is asked says yes."""
        accepted = []
        for row in await self.fulfillment_orders():
            await self.do(accept_fulfillment_order, AcceptFulfillmentOrder(fulfillment_order_id=row.id))
            accepted.append(row.id)
        return accepted

    async def begin_shipments(self, *, pack: bool) -> list[UUID]:
        """Picked at every location; packed too, if asked for."""
        begun = []
        for fulfillment_order_id in await self.accept():
            shipment_id = await self.do(
                create_shipment, CreateShipment(fulfillment_order_id=fulfillment_order_id)
            )
            await self.do(start_picking, StartPicking(shipment_id=shipment_id))
            if pack:
                await self.do(
                    pack_shipment,
                    PackShipment(shipment_id=shipment_id, packages=(self.parcel(),), carrier=self.carrier()),
                )
            begun.append(shipment_id)
        return begun

    def carrier(self) -> str:
        return self.chance.choice(catalogue.CARRIERS)

    def parcel(self) -> Parcel:
        return Parcel(
            tracking_number=f"1Z{self.chance.randrange(10**10):010d}",
            weight_grams=self.chance.randint(200, 9_000),
        )

    async def ship(self) -> None:
        """Placed, paid, picked, packed and gone."""
        await self.place()
        await self.settle()
        for shipment_id in await self.begin_shipments(pack=True):
            self.now += timedelta(hours=1)
            await self.do(dispatch_shipment, DispatchShipment(shipment_id=shipment_id))
        await self.settle()

    async def scan(self, *kinds: CarrierEventKind) -> None:
        """The carrier reports on each of the order's parcels."""
        table = Package.metadata.tables["package"]
        shipment = Package.metadata.tables["shipment"]
        parcels = await self._all(
            sa.select(table.c.id)
            .join(shipment, shipment.c.id == table.c.shipment_id)
            .where(shipment.c.order_id == self.order_id)
        )
        for kind in kinds:
            self.now += timedelta(minutes=self.chance.randint(30, 200))
            reports = tuple(
                CarrierEventReport(
                    package_id=row.id,
                    partner_event_id=f"{kind.lower()}-{self.chance.randrange(10**6):06d}",
                    kind=kind,
                    occurred_at=self.now,
                    place=self.chance.choice(catalogue.CITIES)[0],
                )
                for row in parcels
            )
            if reports:
                await self.do(record_carrier_events, RecordCarrierEvents(events=reports))

    async def ask_return(self, reason: ReturnReason) -> UUID:
        line = (await self.lines())[0]
        units = ReturnUnits(order_line_id=line.id, quantity=1, reason=reason)
        return_id: UUID = await self.do(request_return, RequestReturn(order_id=self.order_id, lines=(units,)))
        return return_id

    async def lines(self) -> Sequence[Row[Any]]:
        table = OrderLine.metadata.tables["order_line"]
        return await self._all(
            sa.select(table).where(table.c.order_id == self.order_id).order_by(table.c.line_number)
        )

    async def _all(self, statement: sa.Select[Any]) -> Sequence[Row[Any]]:
        rows: Sequence[Row[Any]] = (await self.session.execute(statement)).all()
        return rows
