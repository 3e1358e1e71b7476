from __future__ import annotations

from collections import Counter
from itertools import combinations
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import allocation
from domain.allocation import Demand, Placement, Promise, allocate, by_location, choose
from domain.errors import InsufficientStock, Refused

BERLIN, LISBON, OSLO = (UUID(int=number) for number in (1, 2, 3))
RANKS = {BERLIN: 0, LISBON: 1, OSLO: 2}


def test_one_location_that_covers_everything_beats_a_better_ranked_one_that_does_not() -> None:
    supply = {("A", BERLIN): 5, ("A", LISBON): 5, ("B", LISBON): 5}
    placement = allocate([Demand(0, "A", 2), Demand(1, "B", 1)], supply, RANKS)
    assert placement == Placement(
        allocations=(Promise(0, "A", LISBON, 2), Promise(1, "B", LISBON, 1)), backorders=()
    )


def test_the_better_ranked_of_two_that_cover_everything_is_taken() -> None:
    supply = {("A", LISBON): 5, ("A", OSLO): 5}
    assert allocate([Demand(0, "A", 1)], supply, RANKS).locations() == (LISBON,)
    assert allocate([Demand(0, "A", 1)], supply, {LISBON: 7, OSLO: 7}).locations() == (LISBON,)
    assert allocate([Demand(0, "A", 1)], supply, {LISBON: 7, OSLO: 3}).locations() == (OSLO,)


def test_two_locations_beat_three() -> None:
    supply = {("A", BERLIN): 2, ("A", LISBON): 4, ("A", OSLO): 6}
    assert allocate([Demand(0, "A", 8)], supply, RANKS).allocations == (
        Promise(0, "A", BERLIN, 2),
        Promise(0, "A", OSLO, 6),
    )


def test_demand_is_summed_over_lines_before_it_is_checked() -> None:
    lines = [Demand(0, "A", 6), Demand(1, "A", 6)]
    with pytest.raises(Refused) as refused:
        allocate(lines, {("A", BERLIN): 10}, RANKS)
    assert refused.value.errors == (
        InsufficientStock(
            message="Of A, 10 units can be promised, not 12.",
            field=("lines", "0", "quantity"),
            sku="A",
            requested=12,
            available=10,
        ),
    )


def test_every_sku_that_falls_short_is_told_at_once() -> None:
    lines = [Demand(0, "A", 2), Demand(1, "B", 1), Demand(2, "C", 3)]
    with pytest.raises(Refused) as refused:
        allocate(lines, {("A", BERLIN): 1, ("B", OSLO): 1}, RANKS)
    short = [
        (error.sku, error.available) for error in refused.value.errors if isinstance(error, InsufficientStock)
    ]
    assert short == [("A", 1), ("C", 0)]


def test_what_is_missing_is_backordered_at_the_best_ranked_location_by_the_last_line() -> None:
    lines = [Demand(0, "A", 3), Demand(1, "A", 4)]
    placement = allocate(lines, {("A", OSLO): 5}, RANKS, backorderable={"A"})
    assert placement.allocations == (Promise(0, "A", OSLO, 3), Promise(1, "A", OSLO, 2))
    assert placement.backorders == (Promise(1, "A", BERLIN, 2),)


def test_a_channel_without_locations_can_promise_nothing_not_even_a_backorder() -> None:
    with pytest.raises(Refused):
        allocate([Demand(0, "A", 1)], {("A", BERLIN): 5}, {}, backorderable={"A"})


def test_a_location_outside_the_channel_is_not_drawn_from() -> None:
    with pytest.raises(Refused):
        allocate([Demand(0, "A", 1)], {("A", OSLO): 5}, {BERLIN: 0})


def test_a_line_is_kept_in_one_parcel_where_it_fits() -> None:
    supply = {("A", BERLIN): 3, ("A", LISBON): 5}
    placement = allocate([Demand(0, "A", 3), Demand(1, "A", 5)], supply, RANKS)
    assert placement.allocations == (Promise(0, "A", BERLIN, 3), Promise(1, "A", LISBON, 5))


def test_promises_are_split_into_one_fulfillment_order_per_location() -> None:
    promises = (Promise(0, "A", OSLO, 1), Promise(1, "B", BERLIN, 2), Promise(2, "C", OSLO, 3))
    assert by_location(promises) == {OSLO: (promises[0], promises[2]), BERLIN: (promises[1],)}


SKUS = st.sampled_from("ABCD")
PLACES = [UUID(int=number) for number in range(1, 7)]
DEMANDS = st.lists(st.tuples(SKUS, st.integers(1, 9)), min_size=1, max_size=6).map(
    lambda rows: [Demand(line, sku, quantity) for line, (sku, quantity) in enumerate(rows)]
)
SUPPLIES = st.dictionaries(st.tuples(SKUS, st.sampled_from(PLACES)), st.integers(-3, 12), max_size=24)
RANKINGS = st.dictionaries(st.sampled_from(PLACES), st.integers(0, 3), max_size=6)


@given(DEMANDS, SUPPLIES, RANKINGS, st.sets(SKUS))
def test_all_that_is_asked_for_is_allocated_backordered_or_refused(
    demands: list[Demand],
    supply: dict[tuple[str, UUID], int],
    ranks: dict[UUID, int],
    backorderable: set[str],
) -> None:
    wanted: Counter[str] = Counter()
    for demand in demands:
        wanted[demand.sku] += demand.quantity
    there = {sku: sum(max(0, supply.get((sku, place), 0)) for place in ranks) for sku in wanted}
    short = {sku for sku in wanted if there[sku] < wanted[sku] and (sku not in backorderable or not ranks)}
    if short:
        with pytest.raises(Refused) as refused:
            allocate(demands, supply, ranks, backorderable)
        assert {error.sku for error in refused.value.errors if isinstance(error, InsufficientStock)} == short
        return
    placement = allocate(demands, supply, ranks, backorderable)
    drawn: Counter[tuple[str, UUID]] = Counter()
    served: Counter[int] = Counter()
    for promise in placement.allocations:
        assert promise.quantity > 0
        drawn[promise.sku, promise.location] += promise.quantity
        served[promise.line] += promise.quantity
    for (sku, place), units in drawn.items():
        assert place in ranks
        assert units <= supply[sku, place]
    for sku, units in wanted.items():
        assert sum(drawn[sku, place] for place in ranks) == min(units, there[sku])
    for promise in placement.backorders:
        assert promise.quantity > 0
        assert promise.sku in backorderable
        served[promise.line] += promise.quantity
    assert served == {demand.line: demand.quantity for demand in demands}
    assert allocate(demands, dict(reversed(supply.items())), ranks, backorderable) == placement


@given(DEMANDS, SUPPLIES)
def test_no_fewer_locations_could_have_covered_it(
    demands: list[Demand], supply: dict[tuple[str, UUID], int]
) -> None:
    ranks = dict.fromkeys(PLACES, 0)
    try:
        placement = allocate(demands, supply, ranks)
    except Refused:
        return
    used = len(placement.locations())
    for fewer in combinations(PLACES, used - 1):
        with pytest.raises(Refused):
            allocate(demands, supply, dict.fromkeys(fewer, 0))


def test_beyond_what_can_be_tried_the_choice_is_greedy_and_still_covers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(allocation, "MAX_COMBINATIONS", 1)
    supply = {("A", BERLIN): 1, ("A", LISBON): 6, ("B", OSLO): 4, ("A", OSLO): 1}
    assert choose({"A": 7, "B": 4}, supply, (BERLIN, LISBON, OSLO)) == (LISBON, OSLO)


def test_an_order_over_forty_locations_is_placed_at_once() -> None:
    places = [UUID(int=number) for number in range(1, 41)]
    supply = {(f"SKU{index}", place): 1 for index in range(20) for place in places}
    demands = [Demand(index, f"SKU{index}", 40) for index in range(20)]
    placement = allocate(demands, supply, dict.fromkeys(places, 0))
    assert sum(promise.quantity for promise in placement.allocations) == 800
