"""Personal data of a customer or of one order: exported, or erased while what was bought stays on the books."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from domain.errors import InvalidInput, Refused
from domain.orders import OrderStatus
from domain.returns import ReturnState

ERASED_NAME = "Erased"
"""What a customer without a person is called."""

OPEN_ORDERS = (OrderStatus.DRAFT, OrderStatus.PENDING, OrderStatus.CONFIRMED, OrderStatus.PROCESSING)
OPEN_RETURNS = (ReturnState.REQUESTED, ReturnState.OPEN)

SHOWN = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportCustomer:
    customer_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class EraseCustomer:
    customer_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOrder:
    order_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class EraseOrder:
    order_id: UUID


def require_finished(numbers: Sequence[str]) -> None:
    """Refused while parcels must still find the person; `numbers` are those of the orders that are open."""
    if not numbers:
        return
    shown = ", ".join(numbers[:SHOWN]) + (", …" if len(numbers) > SHOWN else "")
    message = f"First finish or cancel what is still open: {shown}."
    raise Refused(InvalidInput(message=message, field=("id",)))
