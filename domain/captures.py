"""What may be captured as goods leave: money follows the goods, and adds up to the order's total."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from domain.money import refund_of


@dataclass(frozen=True, slots=True, kw_only=True)
class LineUnits:
    """A line's gross total in minor units, and how many of its units were cancelled and have left."""

    gross: int
    ordered: int
    cancelled: int
    fulfilled: int


def due_for_shipped(lines: Sequence[LineUnits], current_total: int) -> int:
    """Minor units due for what has left so far.

    Each line's share of its gross total, rounded half up; once nothing more is to
    leave, all of the current total: the last shipment carries shipping and fees.
    """
    if not any(line.fulfilled for line in lines):
        return 0
    if all(line.fulfilled + line.cancelled >= line.ordered for line in lines):
        return current_total
    shares = sum(refund_of(line.gross, line.fulfilled, line.ordered, 0) for line in lines)
    return min(shares, current_total)
