"""The services on PostgreSQL, led through random histories by hypothesis, every invariant after every step.

A model beside the database counts what was acknowledged: units that came in and left,
what checkouts hold, orders that were placed. A refusal must have changed nothing.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Coroutine
from typing import Any, TypeVar
from uuid import UUID

import asyncpg
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from db.engine import asyncpg_dsn, create_write_engine
from db.fulfillment import FulfillmentOrder, FulfillmentOrderLine
from db.invariants import violations
from db.payments import PaymentTransaction
from db.stock import Reservation
from domain.access import SYSTEM
from domain.errors import Refused
from domain.fulfillment_commands import AcceptFulfillmentOrder, MarkShort, ShortUnits
from domain.order_commands import CancelOrder
from domain.shipment_commands import DispatchShipment
from domain.stock_commands import AdjustStock, ReceiveStock, StockPlace
from services import relay
from services.backorders import ServeBackorders, serve_backorders
from services.dispatches import dispatch_shipment
from services.expiry import ExpireOrder, expire_order
from services.fulfillment import accept_fulfillment_order
from services.order_cancellation import cancel_order
from services.reservations import (
    ReleaseReservation,
    ReserveLine,
    ReserveStock,
    expire_reservations,
    release_reservation,
    reserve_stock,
)
from services.short_picks import mark_short
from services.stock_intake import adjust_stock, receive_stock
from services.transactions import Outcome, RecordResult, record_result
from tests.conftest import Postgres, administer
from tests.fulfillment.steps import CARD
from tests.world import EXTERNAL, STAFF, World, make_world

T = TypeVar("T")

SKUS, PLACES = st.sampled_from("ab"), st.sampled_from(["main", "far"])
OPENING = 6


class Services(RuleBasedStateMachine):
    """One small shop with a database of its own."""

    orders: Bundle[UUID] = Bundle("orders")
    held: Bundle[UUID] = Bundle("held")

    def __init__(self, postgres: Postgres, template: str) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.postgres = postgres
        self.name = f"oms_test_{uuid.uuid4().hex}"
        self.do(administer(postgres, f"create database {self.name} template {template} strategy file_copy"))
        self.engine = create_write_engine(postgres.url(self.name), pool_size=2)
        self.watching = self.do(asyncpg.connect(asyncpg_dsn(postgres.url(self.name))))
        self.world: World = self.do(
            make_world(
                self.engine,
                {sku: {"main": OPENING, "far": OPENING} for sku in "ab"},
                backorderable=frozenset({"b"}),
                locations=("main", "far"),
            )
        )
        self.on_hand = dict.fromkeys("ab", 2 * OPENING)
        self.placed = 0
        self.holding: dict[UUID, tuple[str, int]] = {}

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def attempt(self, use_case: Any, command: Any, actor: Any = STAFF) -> Any:
        """The outcome, or None where it was refused; a refusal leaves every row as it was."""
        before = self.fingerprint()
        try:
            return self.do(self.world.run(use_case, command, actor))
        except Refused:
            assert self.fingerprint() == before
            return None

    def fingerprint(self) -> Any:
        """Changes with every change that anybody could be told of."""
        return tuple(
            self.do(
                self.watching.fetchrow(
                    "select (select count(*) from event), (select sum(version) from stock_level),"
                    " (select count(*) from stock_movement), (select count(*) from idempotency_key)"
                )
            )
        )

    def one(self, table: Any, place: int, *conditions: Any) -> Any:
        """Some row of a table, chosen by hypothesis; None when there is none."""
        rows = self.do(self.world.all(sa.select(table.__table__).where(*conditions).order_by(table.id)))
        return rows[place % len(rows)] if rows else None

    def level(self, sku: str, place: str) -> Any:
        return self.do(self.world.level(sku, place))

    def place_of(self, sku: str, place: str) -> StockPlace:
        return StockPlace(product_id=self.world.products[sku], location_id=self.world.locations[place])

    # Orders.

    @rule(
        target=orders,
        lines=st.lists(st.tuples(SKUS, st.integers(1, 4)), min_size=1, max_size=3),
        card=st.booleans(),
    )
    def place(self, lines: list[tuple[str, int]], card: bool) -> Any:
        before = self.fingerprint()
        try:
            order_id = self.do(self.world.place(*lines, payment=CARD if card else EXTERNAL))
        except Refused:
            assert self.fingerprint() == before
            return multiple()
        self.placed += 1
        return order_id

    @rule(order=orders)
    def cancel(self, order: UUID) -> None:
        self.attempt(cancel_order, CancelOrder(order_id=order))

    @rule(order=orders)
    def run_out_of_time(self, order: UUID) -> None:
        self.do(self.watching.execute("update orders set payment_due_at = now() where id = $1", order))
        self.do(self.world.run(expire_order, ExpireOrder(order_id=order), SYSTEM))

    @rule(place=st.integers(0, 9), outcome=st.sampled_from([Outcome.SUCCEEDED] * 3 + [Outcome.FAILED]))
    def provider_answers(self, place: int, outcome: Outcome) -> None:
        asked = self.one(PaymentTransaction, place, PaymentTransaction.status == "PENDING")
        if asked is not None:
            self.attempt(record_result, RecordResult(transaction_id=asked.id, outcome=outcome), SYSTEM)

    # Checkouts.

    @rule(target=held, sku=SKUS, quantity=st.integers(1, 4))
    def reserve(self, sku: str, quantity: int) -> Any:
        command = ReserveStock(
            channel_id=self.world.channel_id, lines=(ReserveLine(sku=sku, quantity=quantity),), minutes=5
        )
        reservation_id = self.attempt(reserve_stock, command)
        if reservation_id is None:
            return multiple()
        self.holding[reservation_id] = (sku, quantity)
        return reservation_id

    @rule(reservation=consumes(held))
    def order_what_is_held(self, reservation: UUID) -> None:
        """Whoever holds stock gets it, whatever others were promised meanwhile."""
        if reservation not in self.holding:
            return
        active = self.do(self.world.one(sa.select(Reservation.status).where(Reservation.id == reservation)))[
            0
        ]
        sku, quantity = self.holding.pop(reservation)
        assert active == "ACTIVE"
        order_id = self.do(self.world.place((sku, quantity), reservation_id=reservation))
        (line,) = self.do(self.world.lines(order_id))
        # A count may have found fewer units than were held; a SKU that is owed then is backordered.
        assert line.quantity_allocated + line.quantity_backordered == quantity
        self.placed += 1

    @rule(reservation=consumes(held))
    def give_up(self, reservation: UUID) -> None:
        if self.holding.pop(reservation, None) is not None:
            assert self.attempt(release_reservation, ReleaseReservation(reservation_id=reservation))

    @rule(reservation=held)
    def let_it_expire(self, reservation: UUID) -> None:
        if self.holding.pop(reservation, None) is not None:
            self.do(
                self.watching.execute("update reservation set expires_at = now() where id = $1", reservation)
            )
            assert self.do(self.world.run(expire_reservations, 100, SYSTEM)) == 1

    # The shelves.

    @rule(sku=SKUS, place=PLACES, quantity=st.integers(1, 5))
    def receive(self, sku: str, place: str, quantity: int) -> None:
        command = ReceiveStock(place=self.place_of(sku, place), quantity=quantity)
        assert self.attempt(receive_stock, command)
        self.on_hand[sku] += quantity

    @rule(sku=SKUS, place=PLACES, counted=st.integers(2, 8))
    def count(self, sku: str, place: str, counted: int) -> None:
        """Counts stay above what checkouts hold, so that those keep what they were given."""
        level = self.level(sku, place)
        counted = max(counted, level.reserved)
        command = AdjustStock(place=self.place_of(sku, place), reason="Counted", counted=counted)
        self.attempt(adjust_stock, command)
        self.on_hand[sku] += counted - level.sellable

    @rule(sku=SKUS, place=PLACES)
    def serve(self, sku: str, place: str) -> None:
        self.attempt(serve_backorders, ServeBackorders(level_id=self.level(sku, place).id), SYSTEM)

    # The warehouse.

    @rule(place=st.integers(0, 9))
    def accept(self, place: int) -> None:
        found = self.one(FulfillmentOrder, place, FulfillmentOrder.status == "OPEN")
        if found is not None:
            self.attempt(accept_fulfillment_order, AcceptFulfillmentOrder(fulfillment_order_id=found.id))

    @rule(place=st.integers(0, 9))
    def dispatch(self, place: int) -> None:
        found = self.one(FulfillmentOrder, place, FulfillmentOrder.status.in_(("OPEN", "IN_PROGRESS")))
        if found is None:
            return
        before = {sku: self.sellable(sku) for sku in "ab"}
        sent = self.attempt(dispatch_shipment, DispatchShipment(fulfillment_order_id=found.id, carrier="DHL"))
        assert sent is not None, "a departure is a fact"
        for sku in "ab":
            self.on_hand[sku] -= before[sku] - self.sellable(sku)

    @rule(place=st.integers(0, 9))
    def find_too_few(self, place: int) -> None:
        found = self.one(FulfillmentOrder, place, FulfillmentOrder.status == "IN_PROGRESS")
        line = found and self.one(
            FulfillmentOrderLine, place, FulfillmentOrderLine.fulfillment_order_id == found.id
        )
        if line:
            before = {sku: self.sellable(sku) for sku in "ab"}
            missing = ShortUnits(fulfillment_order_line_id=line.id, quantity=1)
            self.attempt(mark_short, MarkShort(fulfillment_order_id=found.id, lines=(missing,)))
            for sku in "ab":
                self.on_hand[sku] -= before[sku] - self.sellable(sku)

    @rule()
    def the_relay_comes_by(self) -> None:
        async def move() -> None:
            async with self.engine.begin() as session:
                await relay.move(session)

        self.do(move())

    # What must hold after every step.

    def sellable(self, sku: str) -> int:
        return int(
            self.do(
                self.watching.fetchval(
                    "select sum(sellable) from stock_level where product_id = $1", self.world.products[sku]
                )
            )
        )

    @invariant()
    def every_invariant_holds(self) -> None:
        broken = self.do(violations(self.watching))
        assert not broken, "\n".join(f"{one.name}: {one.examples}" for one in broken)

    @invariant()
    def the_database_agrees_with_what_was_acknowledged(self) -> None:
        assert {sku: self.sellable(sku) for sku in "ab"} == self.on_hand
        assert self.do(self.watching.fetchval("select count(*) from orders")) == self.placed
        reserved = self.do(self.watching.fetchval("select sum(reserved) from stock_level"))
        assert reserved == sum(quantity for _, quantity in self.holding.values())

    def teardown(self) -> None:
        self.do(self.watching.close())
        self.do(self.engine.dispose())
        self.do(administer(self.postgres, f"drop database if exists {self.name} with (force)"))
        self.runner.close()


@pytest.mark.parametrize(
    ("examples", "steps"),
    [(8, 20), pytest.param(80, 50, marks=pytest.mark.slow)],
    ids=["short histories", "long histories"],
)
def test_no_history_of_the_services_breaks_an_invariant(
    postgres: Postgres, template: str, examples: int, steps: int
) -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call] # hypothesis does not type it
        lambda: Services(postgres, template),
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
