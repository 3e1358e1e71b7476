"""A stock level lived through by random orders, counts, departures and receipts.

After every step: what is sellable covers what is promised, claims are the sum of
their owners, and no unit of an order is lost or served twice.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from domain.allocation import Demand, Supply, allocate
from domain.errors import Refused
from domain.order_status import Units
from domain.stock import AllocationClaim, BackorderClaim, StockLevel, serve, shortage

SKU = "A"
HERE, THERE = UUID(int=1), UUID(int=2)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Line:
    """One order line's units, by place."""

    def __init__(self, quantity: int, priority: int, since: datetime) -> None:
        self.quantity, self.priority, self.since = quantity, priority, since
        self.allocated = {HERE: 0, THERE: 0}
        self.backordered = {HERE: 0, THERE: 0}
        self.fulfilled = self.cancelled = 0

    @property
    def units(self) -> Units:
        return Units(
            quantity=self.quantity,
            cancelled=self.cancelled,
            allocated=sum(self.allocated.values()),
            backordered=sum(self.backordered.values()),
            fulfilled=self.fulfilled,
        )


class Stock(RuleBasedStateMachine):
    lines_ = Bundle("lines")

    def __init__(self) -> None:
        super().__init__()
        self.sellable = {HERE: 5, THERE: 3}
        self.reserved = {HERE: 0, THERE: 0}
        self.lines: list[Line] = []

    def level(self, place: UUID) -> StockLevel:
        return StockLevel(
            sellable=self.sellable[place],
            reserved=self.reserved[place],
            allocated=sum(line.allocated[place] for line in self.lines),
            backordered=sum(line.backordered[place] for line in self.lines),
        )

    def settle(self, place: UUID) -> None:
        """What a use case does after a fact: keep the promises that can be kept, serve the rest."""
        claims = [
            AllocationClaim(
                id=index, quantity=line.allocated[place], priority=line.priority, allocated_at=line.since
            )
            for index, line in enumerate(self.lines)
        ]
        short = shortage(self.level(place), claims)
        for index, units in short.backordered:
            self.lines[index].allocated[place] -= units
            self.lines[index].backordered[place] += units
        self.reserved[place] -= short.uncovered
        owed = [
            BackorderClaim(
                id=index, quantity=line.backordered[place], since=line.since, priority=line.priority
            )
            for index, line in enumerate(self.lines)
        ]
        for index, units in serve(self.level(place), owed):
            self.lines[index].backordered[place] -= units
            self.lines[index].allocated[place] += units

    @rule(
        target=lines_,
        quantities=st.lists(st.integers(1, 4), min_size=1, max_size=3),
        priority=st.integers(0, 1),
        backorder=st.booleans(),
    )
    def place(self, quantities: list[int], priority: int, backorder: bool) -> object:
        supply: Supply = {(SKU, place): self.level(place).available for place in (HERE, THERE)}
        demands = [Demand(index, SKU, quantity) for index, quantity in enumerate(quantities)]
        available = sum(supply.values())
        try:
            placed = allocate(demands, supply, {HERE: 0, THERE: 1}, {SKU} if backorder else ())
        except Refused:
            assert available < sum(quantities)
            return multiple()
        since = NOON + timedelta(minutes=len(self.lines))
        lines = [Line(quantity, priority, since) for quantity in quantities]
        for promise in placed.allocations:
            lines[promise.line].allocated[promise.location] += promise.quantity
        for promise in placed.backorders:
            lines[promise.line].backordered[promise.location] += promise.quantity
        self.lines += lines
        return multiple(*lines)

    @rule(line=consumes(lines_), place=st.sampled_from([HERE, THERE]))
    def cancel(self, line: Line, place: UUID) -> None:
        line.cancelled += line.units.open
        line.allocated = {HERE: 0, THERE: 0}
        line.backordered = {HERE: 0, THERE: 0}
        self.settle(HERE)
        self.settle(THERE)

    @rule(line=lines_, place=st.sampled_from([HERE, THERE]))
    def dispatch(self, line: Line, place: UUID) -> None:
        units = line.allocated[place]
        line.allocated[place] = 0
        line.fulfilled += units
        self.sellable[place] -= units
        self.settle(place)

    @rule(place=st.sampled_from([HERE, THERE]), counted=st.integers(0, 8))
    def count(self, place: UUID, counted: int) -> None:
        self.sellable[place] = counted
        self.settle(place)

    @rule(place=st.sampled_from([HERE, THERE]), units=st.integers(1, 5))
    def reserve(self, place: UUID, units: int) -> None:
        if units <= self.level(place).available:
            self.reserved[place] += units

    @rule(place=st.sampled_from([HERE, THERE]))
    def release(self, place: UUID) -> None:
        self.reserved[place] = 0
        self.settle(place)

    @invariant()
    def promises_are_covered(self) -> None:
        for place in (HERE, THERE):
            level = self.level(place)
            assert level.sellable >= level.allocated + level.reserved >= 0
            assert min(level.sellable, level.reserved, level.backordered) >= 0

    @invariant()
    def nobody_waits_while_stock_is_free(self) -> None:
        for place in (HERE, THERE):
            level = self.level(place)
            assert not level.backordered or level.sellable == level.allocated + level.reserved

    @invariant()
    def every_unit_of_a_line_is_somewhere(self) -> None:
        for line in self.lines:
            units = line.units
            assert units.unallocated == 0
            assert min(units.allocated, units.backordered, units.fulfilled, units.cancelled) >= 0


TestStock = Stock.TestCase
TestStock.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
