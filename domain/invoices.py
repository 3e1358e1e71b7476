"""Invoices: fiscal documents that some channels require before goods are packed or leave."""

from __future__ import annotations

from enum import StrEnum

from domain.states import Machine


class InvoiceDirection(StrEnum):
    OUTBOUND = "OUTBOUND"
    INBOUND = "INBOUND"


class InvoiceRequirement(StrEnum):
    """The step that a channel's orders may not take without an issued invoice."""

    NONE = "NONE"
    PACK = "PACK"
    DISPATCH = "DISPATCH"


class InvoiceStatus(StrEnum):
    PENDING = "PENDING"
    ISSUED = "ISSUED"
    REJECTED = "REJECTED"
    CANCELLED = "CANCELLED"


INVOICE = Machine(
    "Invoice",
    InvoiceStatus,
    initial=(InvoiceStatus.PENDING,),
    rows=(
        (InvoiceStatus.PENDING, InvoiceStatus.ISSUED, "the authority or issuer accepted it"),
        (InvoiceStatus.PENDING, InvoiceStatus.REJECTED, "the authority or issuer refused it"),
        (InvoiceStatus.ISSUED, InvoiceStatus.CANCELLED, "withdrawn"),
    ),
)
