"""Drawing the state machines: `docs/states.md` is what `mermaid()` returns, so it cannot drift."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from domain.discrepancies import DISCREPANCY
from domain.fulfillment import FULFILLMENT_ORDER, REQUEST
from domain.invoices import INVOICE
from domain.orders import ORDER
from domain.payments import PAYMENT, REFUND, TRANSACTION
from domain.reservations import RESERVATION
from domain.returns import RETURN
from domain.shipments import SHIPMENT
from domain.states import Machine
from domain.transfers import TRANSFER

MACHINES: tuple[Machine[Any], ...] = (
    ORDER,
    RESERVATION,
    PAYMENT,
    TRANSACTION,
    REFUND,
    FULFILLMENT_ORDER,
    REQUEST,
    SHIPMENT,
    RETURN,
    TRANSFER,
    INVOICE,
    DISCREPANCY,
)

_HEAD = """# States

Every status change of Maestro OMS is an arrow of one of these machines, or a
change whose origin is IMPORTED or CORRECTED. A request for any other is refused
with `InvalidTransition`, which lists what is allowed; a report of a fact that
fits no arrow is recorded as a discrepancy.

This page is drawn from the tables in `domain/` by `oms states`. Change those.
"""


def mermaid() -> str:
    """The whole page: of each machine a Mermaid state diagram and the table it is drawn from."""
    return "\n".join([_HEAD, *(_section(machine) for machine in MACHINES)])


def diagram(machine: Machine[Any]) -> str:
    """A Mermaid `stateDiagram-v2` of the machine, without the fence around it."""
    lines = ["stateDiagram-v2"]
    lines += [f"    [*] --> {state}" for state in machine.initial]
    lines += [f"    {origin} --> {target}" for origin, target, _ in machine.rows]
    lines += [f"    {state} --> [*]" for state in _reached(machine) if machine.is_terminal(state)]
    return "\n".join(lines)


def _reached(machine: Machine[Any]) -> list[StrEnum]:
    return list(dict.fromkeys(target for _, target, _ in machine.rows))


def _section(machine: Machine[Any]) -> str:
    rows = "\n".join(f"| {origin} | {target} | {why} |" for origin, target, why in machine.rows)
    return (
        f"## {machine.entity}\n\n```mermaid\n{diagram(machine)}\n```\n\n"
        f"| from | to | when |\n| --- | --- | --- |\n{rows}\n"
    )
