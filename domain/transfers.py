"""Transfer orders: goods on their way between two locations belong to the transfer."""

from __future__ import annotations

from enum import StrEnum

from domain.states import Machine


class TransferStatus(StrEnum):
    DRAFT = "DRAFT"
    READY_TO_SHIP = "READY_TO_SHIP"
    IN_TRANSIT = "IN_TRANSIT"
    PARTIALLY_RECEIVED = "PARTIALLY_RECEIVED"
    RECEIVED = "RECEIVED"
    CANCELLED = "CANCELLED"


TRANSFER = Machine(
    "TransferOrder",
    TransferStatus,
    initial=(TransferStatus.DRAFT,),
    rows=(
        (TransferStatus.DRAFT, TransferStatus.READY_TO_SHIP, "claimed at the sending location"),
        (TransferStatus.DRAFT, TransferStatus.CANCELLED, "given up"),
        (TransferStatus.READY_TO_SHIP, TransferStatus.IN_TRANSIT, "left the sending location"),
        (TransferStatus.READY_TO_SHIP, TransferStatus.CANCELLED, "cancelled before leaving"),
        (TransferStatus.IN_TRANSIT, TransferStatus.PARTIALLY_RECEIVED, "some of it arrived"),
        (TransferStatus.IN_TRANSIT, TransferStatus.RECEIVED, "all of it arrived or is accounted for"),
        (TransferStatus.PARTIALLY_RECEIVED, TransferStatus.RECEIVED, "the rest arrived or is accounted for"),
    ),
)
