"""Imports: what other systems' files hold, and how an import run stands."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ImportKind(StrEnum):
    CUSTOMERS = "CUSTOMERS"
    PRODUCTS = "PRODUCTS"
    STOCK = "STOCK"
    ORDERS = "ORDERS"


class ImportStatus(StrEnum):
    RUNNING = "RUNNING"  # also after it was cut: the next run of the same file goes on from there
    COMPLETED = "COMPLETED"


class ImportAction(StrEnum):
    """What became of one record."""

    CREATED = "CREATED"
    CHANGED = "CHANGED"
    UNCHANGED = "UNCHANGED"
    REJECTED = "REJECTED"


@dataclass(frozen=True, slots=True)
class RecordOutcome:
    """What became of one record, and why it was rejected."""

    action: ImportAction
    reason: str = ""


class MapError(ValueError):
    """The map or the file's heading is wrong; the message says what to write."""


class RecordError(ValueError):
    """A record cannot be imported; the message says why."""
