from __future__ import annotations

import importlib
import pkgutil
from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest

import domain
from domain import events
from domain.access import Scope
from domain.diagrams import MACHINES, diagram, mermaid
from domain.errors import InvalidTransition, Refused
from domain.ids import Prefix
from domain.orders import ENDED, ORDER, OrderStatus
from domain.returns import RETURN, ReturnState
from domain.shipments import SHIPMENT, ShipmentStatus
from domain.states import Machine, transition

ROOT = Path(__file__).parents[2]
TEXTS_OF_THEIR_OWN = (Scope, Prefix)


def _enumerations() -> list[type[StrEnum]]:
    found: dict[str, type[StrEnum]] = {}
    for module in pkgutil.iter_modules(domain.__path__):
        for value in vars(importlib.import_module(f"domain.{module.name}")).values():
            if (
                isinstance(value, type)
                and issubclass(value, StrEnum)
                and value.__module__.startswith("domain")
            ):
                found[f"{value.__module__}.{value.__name__}"] = value
    return [enumeration for enumeration in found.values() if enumeration not in TEXTS_OF_THEIR_OWN]


def test_an_order_that_was_delivered_cannot_be_cancelled() -> None:
    with pytest.raises(Refused) as refused:
        transition(ORDER, OrderStatus.COMPLETED, OrderStatus.CANCELLED, field=("id",))
    assert refused.value.errors == (
        InvalidTransition(
            message="Order cannot go from COMPLETED to CANCELLED: COMPLETED is at its end.",
            field=("id",),
            entity="Order",
            from_status="COMPLETED",
            to_status="CANCELLED",
            allowed=(),
        ),
    )


def test_a_refusal_lists_the_states_that_are_allowed() -> None:
    with pytest.raises(Refused) as refused:
        transition(ORDER, OrderStatus.CONFIRMED, OrderStatus.PENDING)
    (error,) = refused.value.errors
    assert isinstance(error, InvalidTransition)
    assert error.allowed == ("PROCESSING", "CANCELLED")
    assert error.message == (
        "Order cannot go from CONFIRMED to PENDING: CONFIRMED may become PROCESSING, CANCELLED."
    )


def test_an_arrow_of_the_table_is_taken() -> None:
    assert transition(RETURN, ReturnState.REQUESTED, ReturnState.OPEN) is ReturnState.OPEN


def test_standing_still_is_no_transition() -> None:
    assert not ORDER.can(OrderStatus.PENDING, OrderStatus.PENDING)


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.entity)
def test_every_state_is_reached_and_no_pair_stands_twice(machine: Machine[Any]) -> None:
    reached = set(machine.initial)
    while True:
        more = {target for origin, target, _ in machine.rows if origin in reached} - reached
        if not more:
            break
        reached |= more
    assert reached == set(machine.states.__members__.values())
    assert max(Counter((origin, target) for origin, target, _ in machine.rows).values()) == 1
    assert all(why for _, _, why in machine.rows)


def test_a_machine_with_a_row_twice_cannot_be_made() -> None:
    row = (ReturnState.REQUESTED, ReturnState.OPEN, "approved")
    with pytest.raises(ValueError, match="stands twice"):
        Machine("Return", ReturnState, initial=(ReturnState.REQUESTED,), rows=(row, row))


def test_ended_orders_are_the_terminal_ones() -> None:
    assert {status for status in OrderStatus if ORDER.is_terminal(status)} == ENDED


def test_a_shipment_may_skip_forward_but_never_back() -> None:
    forward = [
        ShipmentStatus.PENDING,
        ShipmentStatus.PICKING,
        ShipmentStatus.PACKED,
        ShipmentStatus.READY_FOR_PICKUP,
        ShipmentStatus.COLLECTED,
    ]
    for index, origin in enumerate(forward):
        for target in forward[index + 1 :]:
            assert SHIPMENT.can(origin, target), (origin, target)
        for target in forward[:index]:
            assert not SHIPMENT.can(origin, target), (origin, target)


@pytest.mark.parametrize("enumeration", _enumerations(), ids=lambda enumeration: enumeration.__name__)
def test_a_name_is_its_value_and_fits_its_column(enumeration: type[StrEnum]) -> None:
    for member in enumeration:
        assert member.name == member.value
        assert len(member.value) <= 40


@pytest.mark.parametrize(
    ("states", "table"),
    [
        (table, name)
        for name, table in vars(events).items()
        if name.endswith("_EVENTS") and isinstance(table, dict)
    ],
)
def test_every_status_has_an_event_of_its_own(states: dict[StrEnum, events.EventType], table: str) -> None:
    kind = type(next(iter(states)))
    assert set(states) == set(kind), table
    assert len(set(states.values())) == len(states), table


def test_customers_are_not_told_of_holds_or_warehouse_work() -> None:
    hidden = {"ORDER_HELD", "ORDER_RELEASED", "SHORT_PICK_REPORTED", "DISCREPANCY_RECORDED", "STOCK_CHANGED"}
    assert not hidden & events.CUSTOMER_EVENT_TYPES
    assert not [kind for kind in events.CUSTOMER_EVENT_TYPES if kind.startswith("FULFILLMENT")]


def test_a_diagram_begins_at_the_initial_states_and_ends_at_the_terminal_ones() -> None:
    drawn = diagram(RETURN)
    assert drawn.splitlines()[:3] == ["stateDiagram-v2", "    [*] --> REQUESTED", "    [*] --> OPEN"]
    assert "    OPEN --> CLOSED" in drawn
    assert "    CLOSED --> [*]" in drawn
    assert "    OPEN --> [*]" not in drawn


def test_the_page_of_states_is_the_one_the_tables_draw() -> None:
    assert (ROOT / "docs" / "states.md").read_text() == mermaid(), "draw it anew: ./oms states --write"
