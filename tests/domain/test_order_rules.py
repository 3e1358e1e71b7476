from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import QuantityExceeded, Refused
from domain.order_status import (
    OrderFacts,
    Units,
    fulfillment_status,
    is_expired,
    require_units,
    return_status,
    settle,
)
from domain.orders import ENDED, ORDER, FulfillmentStatus, OrderStatus, ReturnStatus
from domain.returns import ReturnState

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
THREE = Units(quantity=3, allocated=3)


def _facts(status: OrderStatus, units: Units = THREE, **more: object) -> OrderFacts:
    return replace(OrderFacts(status=status, units=units, gate_met=True), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("units", "status"),
    [
        (Units(quantity=3), FulfillmentStatus.UNFULFILLED),
        (Units(quantity=3, fulfilled=1), FulfillmentStatus.PARTIALLY_FULFILLED),
        (Units(quantity=3, fulfilled=3), FulfillmentStatus.FULFILLED),
        (Units(quantity=3, fulfilled=1, cancelled=2), FulfillmentStatus.FULFILLED),
        (Units(quantity=3, cancelled=2), FulfillmentStatus.UNFULFILLED),
        (Units(quantity=3, cancelled=3), FulfillmentStatus.CANCELLED),
    ],
)
def test_what_has_left_decides_the_fulfillment_status(units: Units, status: FulfillmentStatus) -> None:
    assert fulfillment_status(units) is status


@pytest.mark.parametrize(
    ("returned", "returns", "status"),
    [
        (0, (), ReturnStatus.NONE),
        (0, (ReturnState.DECLINED, ReturnState.CANCELLED), ReturnStatus.NONE),
        (0, (ReturnState.REQUESTED,), ReturnStatus.REQUESTED),
        (1, (ReturnState.REQUESTED, ReturnState.OPEN), ReturnStatus.IN_PROGRESS),
        (1, (ReturnState.CLOSED,), ReturnStatus.PARTIALLY_RETURNED),
        (3, (ReturnState.CLOSED,), ReturnStatus.RETURNED),
    ],
)
def test_what_comes_back_decides_the_return_status(
    returned: int, returns: tuple[ReturnState, ...], status: ReturnStatus
) -> None:
    assert return_status(Units(quantity=4, cancelled=1, fulfilled=3, returned=returned), returns) is status


def test_an_order_is_confirmed_when_its_gate_opens_and_processed_when_work_begins() -> None:
    assert settle(_facts(OrderStatus.PENDING, gate_met=False), NOW) == ()
    assert settle(_facts(OrderStatus.PENDING), NOW) == (OrderStatus.CONFIRMED,)
    assert settle(_facts(OrderStatus.CONFIRMED), NOW) == ()
    assert settle(_facts(OrderStatus.CONFIRMED, work_begun=True), NOW) == (OrderStatus.PROCESSING,)


def test_an_order_completes_when_everything_that_left_has_arrived() -> None:
    left = Units(quantity=3, fulfilled=2, cancelled=1)
    assert settle(_facts(OrderStatus.PROCESSING, left, on_its_way=1), NOW) == ()
    assert settle(_facts(OrderStatus.PROCESSING, left), NOW) == (OrderStatus.COMPLETED,)
    assert settle(_facts(OrderStatus.PROCESSING, Units(quantity=3, fulfilled=2)), NOW) == ()


def test_without_a_delivery_scan_it_completes_after_the_channels_days() -> None:
    facts = _facts(
        OrderStatus.PROCESSING,
        Units(quantity=3, fulfilled=3),
        on_its_way=3,
        dispatched_at=NOW,
        completes_after=timedelta(days=10),
    )
    assert settle(facts, NOW + timedelta(days=10, seconds=-1)) == ()
    assert settle(facts, NOW + timedelta(days=10)) == (OrderStatus.COMPLETED,)
    lost = replace(facts, in_trouble=1)
    assert settle(lost, NOW + timedelta(days=365)) == ()


def test_a_store_sale_goes_through_every_status_at_once() -> None:
    facts = _facts(OrderStatus.PENDING, Units(quantity=1, fulfilled=1))
    assert settle(facts, NOW) == (OrderStatus.CONFIRMED, OrderStatus.PROCESSING, OrderStatus.COMPLETED)


@pytest.mark.parametrize(
    "status", [OrderStatus.DRAFT, OrderStatus.PENDING, OrderStatus.CONFIRMED, OrderStatus.PROCESSING]
)
def test_an_order_of_which_every_unit_is_cancelled_is_cancelled(status: OrderStatus) -> None:
    assert settle(_facts(status, Units(quantity=3, cancelled=3), gate_met=False), NOW) == (
        OrderStatus.CANCELLED,
    )


@pytest.mark.parametrize("status", sorted(ENDED))
def test_an_order_that_has_ended_stays_so(status: OrderStatus) -> None:
    assert settle(_facts(status, Units(quantity=3, cancelled=3), work_begun=True), NOW) == ()


def _units(parts: list[int]) -> Units:
    cancelled, allocated, backordered, fulfilled, unallocated, returned = parts
    return Units(
        quantity=cancelled + allocated + backordered + fulfilled + unallocated,
        cancelled=cancelled,
        allocated=allocated,
        backordered=backordered,
        fulfilled=fulfilled,
        returned=min(returned, fulfilled),
    )


UNITS = st.lists(st.integers(0, 4), min_size=6, max_size=6).map(_units)


@given(
    st.builds(
        OrderFacts,
        status=st.sampled_from(OrderStatus),
        units=UNITS,
        gate_met=st.booleans(),
        work_begun=st.booleans(),
        on_its_way=st.integers(0, 2),
        in_trouble=st.integers(0, 2),
        dispatched_at=st.sampled_from([None, NOW - timedelta(days=40), NOW]),
    )
)
def test_an_order_only_moves_along_its_table_and_settles_once(facts: OrderFacts) -> None:
    status = facts.status
    for following in settle(facts, NOW):
        assert ORDER.can(status, following)
        status = following
    assert settle(replace(facts, status=status), NOW) == ()
    if status is OrderStatus.COMPLETED and facts.status is not status:
        assert facts.units.open == 0
        assert facts.units.fulfilled > 0 or not facts.units.quantity
    if status is OrderStatus.CANCELLED and facts.status is not status:
        assert facts.units.fulfilled == 0
    assert facts.units.unallocated >= 0


def test_an_unpaid_order_expires_when_payment_was_due() -> None:
    unpaid = _facts(OrderStatus.PENDING, gate_met=False)
    assert is_expired(unpaid, NOW, NOW)
    assert not is_expired(unpaid, NOW + timedelta(seconds=1), NOW)
    assert not is_expired(unpaid, None, NOW)
    assert not is_expired(_facts(OrderStatus.PENDING), NOW, NOW)
    assert not is_expired(_facts(OrderStatus.CONFIRMED, gate_met=False), NOW, NOW)


def test_an_unpaid_order_of_which_something_has_left_waits_for_staff() -> None:
    assert not is_expired(
        _facts(OrderStatus.PENDING, Units(quantity=3, fulfilled=1), gate_met=False), NOW, NOW
    )


def test_more_units_than_there_are_is_refused() -> None:
    assert require_units(2, 2, "cancelled", field=("lines", "0", "quantity")) == 2
    with pytest.raises(Refused) as refused:
        require_units(3, 2, "cancelled", field=("lines", "0", "quantity"))
    assert refused.value.errors == (
        QuantityExceeded(
            message="2 units can be cancelled, not 3.",
            field=("lines", "0", "quantity"),
            requested=3,
            limit=2,
        ),
    )
