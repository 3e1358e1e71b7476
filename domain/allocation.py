"""Choosing where an order's units come from.

Three steps, each a function: which locations (`choose`), how many units of each
SKU from each of them (`draw`), and which line gets them (`allocate`, which also
decides between backorder and refusal). Everything is deterministic: equal input
gives equal output on every machine and at every retry.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, islice
from typing import NamedTuple
from uuid import UUID

from domain.errors import InsufficientStock, Refused

MAX_COMBINATIONS = 1_024
"""Sets of locations that are tried before the choice becomes greedy: all sets of ten locations."""

Supply = Mapping[tuple[str, UUID], int]
"""Units that may be promised, by SKU and location."""


class Demand(NamedTuple):
    """Units of a SKU that one order line asks for; `line` is its index."""

    line: int
    sku: str
    quantity: int


class Promise(NamedTuple):
    """Units of one location given, or owed, to one line."""

    line: int
    sku: str
    location: UUID
    quantity: int


@dataclass(frozen=True, slots=True)
class Placement:
    allocations: tuple[Promise, ...]
    backorders: tuple[Promise, ...]

    def locations(self) -> tuple[UUID, ...]:
        """Locations that have something to send, in the order of their allocations."""
        return tuple(dict.fromkeys(promise.location for promise in self.allocations))


def allocate(
    demands: Sequence[Demand],
    supply: Supply,
    ranks: Mapping[UUID, int],
    backorderable: Collection[str] = (),
) -> Placement:
    """Promise every unit of `demands` from the locations of `ranks` (the lowest rank is preferred).

    One location that covers everything wins, then the fewest, then the best ranked.
    What is missing is backordered at the best-ranked location where the SKU allows
    it; else Refused(InsufficientStock), one error per SKU that falls short, on the
    first line that asks for it.
    """
    order = sorted(ranks, key=lambda location: (ranks[location], location))
    wanted: dict[str, int] = {}
    for demand in demands:
        wanted[demand.sku] = wanted.get(demand.sku, 0) + demand.quantity
    for location in order:  # most orders come from one location, and then nothing need be weighed
        if all(supply.get((sku, location), 0) >= units for sku, units in wanted.items()):
            whole = [Promise(line, sku, location, units) for line, sku, units in demands if units]
            return Placement(tuple(whole), ())
    available = {sku: sum(_units(supply, sku, location) for location in order) for sku in wanted}
    _refuse_shortages(demands, wanted, available, backorderable if order else ())

    targets = {sku: min(units, available[sku]) for sku, units in wanted.items()}
    drawn = draw(targets, supply, choose(targets, supply, order))
    allocations: list[Promise] = []
    backorders: list[Promise] = []
    for demand in demands:
        missing = demand.quantity
        stock = drawn[demand.sku]
        for location in _for_line(stock, missing):
            units = min(missing, stock[location])
            if units:
                allocations.append(Promise(demand.line, demand.sku, location, units))
                stock[location] -= units
                missing -= units
        if missing:
            backorders.append(Promise(demand.line, demand.sku, order[0], missing))
    return Placement(tuple(allocations), tuple(backorders))


def choose(targets: Mapping[str, int], supply: Supply, order: Sequence[UUID]) -> tuple[UUID, ...]:
    """The fewest locations of `order` that together hold the targets; the earliest among equals.

    Beyond MAX_COMBINATIONS it takes, again and again, the location that adds most.
    """
    useful = [
        location
        for location in order
        if any(_units(supply, sku, location) for sku, units in targets.items() if units)
    ]
    candidates = (chosen for size in range(len(useful) + 1) for chosen in combinations(useful, size))
    for chosen in islice(candidates, MAX_COMBINATIONS):
        if all(
            sum(_units(supply, sku, location) for location in chosen) >= units
            for sku, units in targets.items()
        ):
            return chosen
    return _greedy(targets, supply, useful)


def draw(targets: Mapping[str, int], supply: Supply, chosen: Sequence[UUID]) -> dict[str, dict[UUID, int]]:
    """Units of each SKU to take from each chosen location, in as few parts as it goes.

    A location that can give all that is still missing gives it; while there is
    none, the one that holds most does.
    """
    drawn: dict[str, dict[UUID, int]] = {}
    for sku, target in targets.items():
        left = {location: _units(supply, sku, location) for location in chosen}
        taken: dict[UUID, int] = {}
        missing = target
        while missing:
            whole = next((location for location, units in left.items() if units >= missing), None)
            location = whole if whole is not None else max(left, key=lambda place: left[place])
            taken[location] = min(missing, left.pop(location))
            missing -= taken[location]
        drawn[sku] = {location: taken[location] for location in chosen if location in taken}
    return drawn


def by_location(promises: Sequence[Promise]) -> dict[UUID, tuple[Promise, ...]]:
    """What each location is to send: one fulfillment order each."""
    split: dict[UUID, tuple[Promise, ...]] = {}
    for promise in promises:
        split[promise.location] = (*split.get(promise.location, ()), promise)
    return split


def _units(supply: Supply, sku: str, location: UUID) -> int:
    return max(0, supply.get((sku, location), 0))


def _refuse_shortages(
    demands: Sequence[Demand],
    wanted: Mapping[str, int],
    available: Mapping[str, int],
    backorderable: Collection[str],
) -> None:
    short = []
    for sku, units in wanted.items():
        if available[sku] < units and sku not in backorderable:
            line = next(demand.line for demand in demands if demand.sku == sku)
            message = f"Of {sku}, {available[sku]} units can be promised, not {units}."
            field = ("lines", str(line), "quantity")
            short.append(
                InsufficientStock(
                    message=message, field=field, sku=sku, requested=units, available=available[sku]
                )
            )
    if short:
        raise Refused(*short)


def _for_line(stock: Mapping[UUID, int], quantity: int) -> list[UUID]:
    """Where a line looks first: a location that can serve all of it, then the others in their order."""
    whole = [location for location, units in stock.items() if units >= quantity]
    return [*whole[:1], *(location for location in stock if location not in whole[:1])]


def _greedy(targets: Mapping[str, int], supply: Supply, useful: Sequence[UUID]) -> tuple[UUID, ...]:
    missing = dict(targets)
    left = list(useful)
    chosen: set[UUID] = set()
    while any(missing.values()):
        gains = [
            sum(min(units, _units(supply, sku, location)) for sku, units in missing.items())
            for location in left
        ]
        best = left.pop(gains.index(max(gains)))
        chosen.add(best)
        missing = {sku: max(0, units - _units(supply, sku, best)) for sku, units in missing.items()}
    return tuple(location for location in useful if location in chosen)
