"""Stock: where units lie, why they moved, and how many may still be promised."""

from __future__ import annotations

from enum import StrEnum

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
