from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.stock import (
    AllocationClaim,
    BackorderClaim,
    Due,
    StockLevel,
    available_to_promise,
    for_channel,
    serve,
    shortage,
)

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
UNITS = st.integers(0, 50)


def _day(number: int) -> datetime:
    return NOON + timedelta(days=number)


def test_what_is_promised_or_kept_for_safety_is_not_available() -> None:
    level = StockLevel(sellable=20, damaged=3, allocated=5, reserved=4, backordered=1, safety_stock=2)
    assert (level.on_hand, level.claimed, level.available) == (23, 10, 8)
    assert StockLevel(sellable=3, safety_stock=5).available == 0


def test_units_to_come_can_be_promised_from_when_they_come() -> None:
    level = StockLevel(sellable=5, allocated=2)
    inbound = [Due(_day(3), 10)]
    assert available_to_promise(level, NOON, inbound=inbound) == 3
    assert available_to_promise(level, _day(3), inbound=inbound) == 13


def test_a_promise_for_now_does_not_break_one_for_later() -> None:
    level = StockLevel(sellable=10)
    owed = [Due(_day(2), 8)]
    assert available_to_promise(level, NOON, owed=owed) == 2
    assert available_to_promise(level, NOON, owed=owed, inbound=[Due(_day(2), 8)]) == 10
    assert available_to_promise(level, NOON, owed=owed, inbound=[Due(_day(3), 8)]) == 2


def test_safety_stock_is_kept_and_nothing_is_promised_below_zero() -> None:
    assert available_to_promise(StockLevel(sellable=10, safety_stock=4), NOON) == 6
    assert available_to_promise(StockLevel(sellable=1, allocated=1), NOON, owed=[Due(_day(1), 5)]) == 0


@given(
    st.builds(StockLevel, sellable=UNITS, allocated=UNITS, reserved=UNITS, safety_stock=UNITS),
    st.lists(st.builds(Due, st.integers(0, 9).map(_day), UNITS), max_size=5),
    st.lists(st.builds(Due, st.integers(0, 9).map(_day), UNITS), max_size=5),
)
def test_what_can_be_promised_never_shrinks_with_time(
    level: StockLevel, inbound: list[Due], owed: list[Due]
) -> None:
    promised = [available_to_promise(level, _day(day), inbound=inbound, owed=owed) for day in range(11)]
    assert promised == sorted(promised)
    if not inbound and not owed:
        assert promised[0] == level.available


@pytest.mark.parametrize(
    ("buffer", "quota", "open_units"),
    [(0, None, 10), (3, None, 7), (11, None, 0), (0, 4, 4), (3, 9, 7), (0, -1, 0)],
)
def test_a_channel_promises_what_its_buffer_and_quota_leave(
    buffer: int, quota: int | None, open_units: int
) -> None:
    assert for_channel(10, buffer=buffer, quota_left=quota) == open_units


def _claim(
    name: str, quantity: int, *, priority: int = 0, picked: int = 0, day: int = 0
) -> AllocationClaim[str]:
    return AllocationClaim(
        id=name, quantity=quantity, priority=priority, picked=picked, allocated_at=_day(day)
    )


def test_a_shortage_takes_unpicked_units_of_the_lowest_priority_first() -> None:
    claims = [
        _claim("important", 4, priority=5),
        _claim("old", 3, day=1),
        _claim("new", 3, day=2),
        _claim("picked", 2, priority=-1, picked=2),
    ]
    level = StockLevel(sellable=7, allocated=12)
    assert shortage(level, claims).backordered == (("new", 3), ("old", 2))


def test_picked_units_go_last_and_reservations_after_them() -> None:
    claims = [_claim("part picked", 5, picked=3), _claim("important", 2, priority=1)]
    level = StockLevel(sellable=0, allocated=7, reserved=4)
    result = shortage(level, claims)
    assert dict(result.backordered) == {"part picked": 5, "important": 2}
    assert result.uncovered == 4


def test_there_is_no_shortage_while_stock_covers_its_claims() -> None:
    level = StockLevel(sellable=7, allocated=5, reserved=2, backordered=100)
    assert shortage(level, [_claim("any", 5)]).backordered == ()


@given(
    UNITS,
    UNITS,
    st.lists(
        st.tuples(st.integers(1, 20), st.integers(-2, 2), st.integers(0, 20), st.integers(0, 5)), max_size=8
    ),
    st.randoms(),
)
def test_a_shortage_takes_exactly_what_is_missing(
    sellable: int, reserved: int, rows: list[tuple[int, int, int, int]], random: object
) -> None:
    claims = [
        AllocationClaim(
            id=index,
            quantity=quantity,
            priority=priority,
            picked=min(picked, quantity),
            allocated_at=_day(day),
        )
        for index, (quantity, priority, picked, day) in enumerate(rows)
    ]
    allocated = sum(claim.quantity for claim in claims)
    level = StockLevel(sellable=sellable, allocated=allocated, reserved=reserved)
    result = shortage(level, claims)
    taken = dict(result.backordered)
    assert sum(taken.values()) + result.uncovered == max(0, allocated + reserved - sellable)
    assert all(0 < units <= claims[index].quantity for index, units in taken.items())
    assert result.uncovered == 0 or sum(taken.values()) == allocated
    mixed = list(claims)
    random.shuffle(mixed)  # type: ignore[attr-defined] # hypothesis hands out a random.Random
    assert shortage(level, mixed) == result


def test_backorders_are_served_by_priority_then_age() -> None:
    level = StockLevel(sellable=10, allocated=2, reserved=1, backordered=12, safety_stock=5)
    backorders = [
        BackorderClaim(id="young", quantity=4, since=_day(2)),
        BackorderClaim(id="old", quantity=4, since=_day(1)),
        BackorderClaim(id="important", quantity=2, since=_day(3), priority=1),
    ]
    assert serve(level, backorders) == (("important", 2), ("old", 4), ("young", 1))
    assert serve(StockLevel(sellable=3, allocated=3), backorders) == ()
