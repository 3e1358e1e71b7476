"""Stock: where units lie, why they moved, and how many may still be promised."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

MAX_QUANTITY = 1_000_000
"""Units that one line, movement or level may name."""


class Bucket(StrEnum):
    """In what condition units of a level are; only SELLABLE ones can be promised."""

    SELLABLE = "SELLABLE"
    DAMAGED = "DAMAGED"
    QUARANTINE = "QUARANTINE"
    DISPLAY = "DISPLAY"


class MovementKind(StrEnum):
    """Why a row stands in the ledger."""

    OPENING_BALANCE = "OPENING_BALANCE"
    RECEIPT = "RECEIPT"
    ADJUSTMENT = "ADJUSTMENT"
    COUNT = "COUNT"
    BUCKET_TRANSFER = "BUCKET_TRANSFER"
    DISPATCH = "DISPATCH"
    RETURN_RECEIPT = "RETURN_RECEIPT"
    RECONCILIATION = "RECONCILIATION"  # units a departure proved to be there against the books
    TRANSFER_OUT = "TRANSFER_OUT"
    TRANSFER_IN = "TRANSFER_IN"


class StockOwner(StrEnum):
    OWN = "OWN"
    CONSIGNMENT = "CONSIGNMENT"


class LocationKind(StrEnum):
    WAREHOUSE = "WAREHOUSE"
    STORE = "STORE"
    THIRD_PARTY_LOGISTICS = "THIRD_PARTY_LOGISTICS"


@dataclass(frozen=True, slots=True, kw_only=True)
class StockLevel:
    """Units of one SKU at one location: four physical buckets, and what is promised of SELLABLE."""

    sellable: int = 0
    damaged: int = 0
    quarantine: int = 0
    display: int = 0
    allocated: int = 0
    reserved: int = 0
    backordered: int = 0
    safety_stock: int = 0

    @property
    def on_hand(self) -> int:
        return self.sellable + self.damaged + self.quarantine + self.display

    @property
    def claimed(self) -> int:
        """Units promised, whether they are there or yet to come."""
        return self.allocated + self.reserved + self.backordered

    @property
    def available(self) -> int:
        """Units that may be promised now; waiting backorders are served before new demand."""
        return max(0, self.sellable - self.claimed - self.safety_stock)


@dataclass(frozen=True, slots=True)
class Due:
    """Units that come in, or that are owed, at a moment."""

    at: datetime
    units: int


def available_to_promise(
    level: StockLevel, at: datetime, *, inbound: Sequence[Due] = (), owed: Sequence[Due] = ()
) -> int:
    """Units that may be promised for `at` without breaking any promise for later.

    The least, over every moment from `at` on, of what will be there less what is
    claimed. `owed` are backorders and preorders with a date; `level.backordered`
    counts those without one.
    """
    moments = {at, *(due.at for due in (*inbound, *owed) if due.at > at)}
    projected = min(
        level.sellable
        + sum(due.units for due in inbound if due.at <= moment)
        - level.claimed
        - sum(due.units for due in owed if due.at <= moment)
        for moment in moments
    )
    return max(0, projected - level.safety_stock)


def for_channel(available: int, *, buffer: int = 0, quota_left: int | None = None) -> int:
    """What one channel may promise of `available` units."""
    open_units = max(0, available - buffer)
    return open_units if quota_left is None else min(open_units, max(0, quota_left))


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocationClaim(Generic[K]):
    """An allocation as `shortage` weighs it. A higher `priority` matters more; `picked` units are in hand."""

    id: K
    quantity: int
    allocated_at: datetime
    priority: int = 0
    picked: int = 0


@dataclass(frozen=True, slots=True)
class Shortage(Generic[K]):
    """Units by allocation that become backorders, and those that only reservations can still give up."""

    backordered: tuple[tuple[K, int], ...]
    uncovered: int


def shortage(level: StockLevel, allocations: Iterable[AllocationClaim[K]]) -> Shortage[K]:
    """Which allocations can no longer be kept when claims exceed what is sellable.

    Unpicked units go first; among them those of the lowest priority, and the
    latest allocated. Picked units follow in the same order.
    """
    missing = max(0, level.allocated + level.reserved - level.sellable)
    by_id = sorted(allocations, key=lambda claim: str(claim.id))
    weakest_first = sorted(
        sorted(by_id, key=lambda claim: claim.allocated_at, reverse=True), key=lambda claim: claim.priority
    )
    taken: dict[K, int] = {}
    for in_hand in (False, True):
        for claim in weakest_first:
            loose = claim.picked if in_hand else claim.quantity - claim.picked
            units = min(missing, max(0, loose))
            if units:
                taken[claim.id] = taken.get(claim.id, 0) + units
                missing -= units
    return Shortage(tuple(taken.items()), missing)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackorderClaim(Generic[K]):
    """Units owed to one order line from one stock level."""

    id: K
    quantity: int
    since: datetime
    priority: int = 0


def serve(level: StockLevel, backorders: Iterable[BackorderClaim[K]]) -> tuple[tuple[K, int], ...]:
    """Units by backorder that stock can now be allocated to: the highest priority, then the oldest first.

    Safety stock is there for what was already promised, so backorders may use it.
    """
    free = max(0, level.sellable - level.allocated - level.reserved)
    served = []
    for claim in sorted(backorders, key=lambda claim: (-claim.priority, claim.since, str(claim.id))):
        units = min(free, claim.quantity)
        if units:
            served.append((claim.id, units))
            free -= units
    return tuple(served)
